-- expect: output-too-large
return function()
  return ('x'):rep(1000000)
end
