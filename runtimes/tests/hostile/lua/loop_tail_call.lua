-- expect: timeout
local function again()
  return again()
end
return function()
  while true do
    pcall(again)
  end
end
