// expect: host
export default (event, ctx) => ctx.kv.get('carts', '../../etc/passwd');
