// expect: denied
export default (event, ctx) => ctx.emit('secrets', 1);
