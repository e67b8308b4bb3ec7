// expect: timeout
export default (event, ctx) => {
  ctx.kv.get({
    toString() {
      for (;;) {}
    },
  });
};
