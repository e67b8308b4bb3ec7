// expect: denied
export default (event, ctx) => ctx.kv.get('secrets', 'a');
