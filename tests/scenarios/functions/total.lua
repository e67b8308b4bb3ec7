return function(event, ctx)
  local total = 0
  for _, line in ipairs(event.data.lines) do
    total += line.price * line.count
  end
  return { by = ctx["function"], total = total }
end
