-- expect: timeout
return function()
  return ('('):rep(20000):find('%b().-%b().-%b()x')
end
