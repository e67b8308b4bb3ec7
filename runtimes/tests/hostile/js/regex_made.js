// expect: timeout
export default () => new RegExp('(x+x+)+y').test('x'.repeat(100));
