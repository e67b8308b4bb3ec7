-- expect: memory or timeout
return function()
  local all = {}
  while true do
    pcall(function()
      while true do
        all[#all + 1] = table.create(1000, 1)
      end
    end)
  end
end
