// expect: timeout
export default () => /^(.*)*\1$/.test('ab'.repeat(40) + '!');
