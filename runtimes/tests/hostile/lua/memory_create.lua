-- expect: memory
return function()
  return #table.create(60000000, 1)
end
