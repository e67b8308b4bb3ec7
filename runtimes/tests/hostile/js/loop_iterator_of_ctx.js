// expect: timeout
export default (event, ctx) => {
  ctx.http({
    url: {
      toString() {
        for (;;) {}
      },
    },
  });
};
