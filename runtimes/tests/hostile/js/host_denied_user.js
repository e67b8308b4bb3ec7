// expect: denied
export default (event, ctx) => ctx.http('https://api.example.com@evil.example.net/');
