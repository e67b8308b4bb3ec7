-- expect: thrown or stack
return function()
  return select('#', table.unpack(table.create(1000000, 1)))
end
