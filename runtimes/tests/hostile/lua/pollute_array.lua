-- expect: thrown
return function()
  setmetatable(array({}), {})
end
