// expect: denied
export default (event, ctx) => ctx.http('http://169.254.169.254/latest/meta-data/');
