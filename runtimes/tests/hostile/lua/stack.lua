-- expect: stack or memory
local function down()
  return 1 + down()
end
return down
