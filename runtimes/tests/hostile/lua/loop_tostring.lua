-- expect: timeout
return function()
  print(setmetatable({}, {
    __tostring = function()
      while true do end
    end,
  }))
end
