-- expect: memory
return function()
  local part = ('x'):rep(1000000)
  return #table.concat(table.create(100, part))
end
