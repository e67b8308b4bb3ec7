// expect: emit-topic
export default (event, ctx) => {
  for (;;) ctx.emit("orders." + "a".repeat(1000000), 1);
};
