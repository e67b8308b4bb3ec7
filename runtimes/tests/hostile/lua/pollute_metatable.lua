-- expect: thrown
return function()
  getmetatable('').__index = nil
end
