-- expect: thrown
return function()
  return collectgarbage('count')
end
