export default (event, ctx) => ({
  by: ctx.function,
  total: event.data.lines.reduce((sum, line) => sum + line.price * line.count, 0),
});
