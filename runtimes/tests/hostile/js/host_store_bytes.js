// expect: memory or timeout
export default (event, ctx) => {
  const value = 'x'.repeat(60000);
  for (let i = 0; ; i++) ctx.kv.put('carts', 'k' + i, value);
};
