// Prices an order in cents, and tells the warehouse about large ones.
/** @type {import("./hexafn").Handler} */
export default (event, ctx) => {
  const { id, lines } = event.data;
  let items = 0;
  let total = 0;
  for (const line of lines) {
    items += line.count;
    total += line.price * line.count;
  }
  if (total > 10000) {
    ctx.emit("orders.large", { id, total }, { key: id });
  }
  return { id, items, total };
};
