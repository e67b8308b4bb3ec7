-- expect: memory
return function()
  local text = ('x'):rep(100000)
  return #(text:gsub('x', text))
end
