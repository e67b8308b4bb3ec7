-- expect: timeout or stack
local function down()
  pcall(down)
  pcall(down)
end
return down
