-- expect: timeout
return function()
  return ('a'):rep(20000):match(('a*'):rep(30) .. 'b')
end
