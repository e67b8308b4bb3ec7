-- expect: host
return function(event, ctx)
  return ctx.kv.get('carts', '../../etc/passwd')
end
