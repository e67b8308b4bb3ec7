-- expect: timeout
return function()
  return (('a'):rep(20000):gsub('.-.-.-.-b', ''))
end
