-- expect: denied
return function(event, ctx)
  ctx.emit('secrets', 1)
end
