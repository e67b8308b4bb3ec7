-- expect: emit-topic
return function(event, ctx)
  while true do
    ctx.emit("orders." .. ("a"):rep(1000000), 1)
  end
end
