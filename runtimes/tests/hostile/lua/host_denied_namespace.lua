-- expect: denied
return function(event, ctx)
  return ctx.kv.get('secrets', 'a')
end
