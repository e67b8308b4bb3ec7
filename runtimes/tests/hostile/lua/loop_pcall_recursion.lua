-- expect: timeout or stack
local function again()
  pcall(again)
  return again()
end
return again
