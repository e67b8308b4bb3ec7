// expect: emits
export default (event, ctx) => {
  for (;;) ctx.emit('orders.a', 1);
};
