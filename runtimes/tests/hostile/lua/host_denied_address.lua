-- expect: denied
return function(event, ctx)
  return ctx.http('http://169.254.169.254/latest/meta-data/')
end
