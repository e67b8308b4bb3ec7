-- expect: memory
return function()
  return #('x'):rep(1000000000)
end
