// expect: output-too-large
export default (event, ctx) => ctx.emit('orders.a', 'x'.repeat(1 << 20));
