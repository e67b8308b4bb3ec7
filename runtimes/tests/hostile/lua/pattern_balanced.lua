-- expect: timeout
return function()
  return ('('):rep(200000):find('%b().-%b().-%b()x')
end
