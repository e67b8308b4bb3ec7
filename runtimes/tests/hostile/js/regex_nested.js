// expect: timeout
export default () => /^(a+)+$/.test('a'.repeat(64) + 'b');
