-- Prices an order in cents, and tells the warehouse about large ones.
return function(event, ctx)
  local id, items, total = event.data.id, 0, 0
  for _, line in event.data.lines do
    items += line.count
    total += line.price * line.count
  end
  if total > 10000 then
    ctx.emit("orders.large", { id = id, total = total }, { key = id })
  end
  return { id = id, items = items, total = total }
end
