-- expect: memory or timeout
return function(event, ctx)
  local value = ('x'):rep(60000)
  local i = 0
  while true do
    i += 1
    ctx.kv.put('carts', 'k' .. i, value)
  end
end
