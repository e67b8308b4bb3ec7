// expect: timeout
export default () => /^(a|a|aa)*$/.test('a'.repeat(64) + 'b');
