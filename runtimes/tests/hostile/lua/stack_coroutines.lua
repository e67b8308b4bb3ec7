-- expect: stack or thrown
local function down()
  return coroutine.wrap(down)()
end
return down
