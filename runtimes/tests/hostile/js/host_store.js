// expect: host-calls
export default (event, ctx) => {
  for (let i = 0; ; i++) ctx.kv.put('carts', 'k' + i, i);
};
