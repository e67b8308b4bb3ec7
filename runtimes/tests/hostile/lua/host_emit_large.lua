-- expect: output-too-large
return function(event, ctx)
  ctx.emit('orders.a', ('x'):rep(1000000))
end
