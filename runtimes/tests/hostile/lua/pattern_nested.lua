-- expect: timeout
return function()
  return ('a'):rep(20000):find(('.-'):rep(30) .. 'b')
end
