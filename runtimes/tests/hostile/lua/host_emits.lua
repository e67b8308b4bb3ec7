-- expect: emits
return function(event, ctx)
  while true do
    ctx.emit('orders.a', 1)
  end
end
