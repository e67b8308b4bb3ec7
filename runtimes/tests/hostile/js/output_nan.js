// expect: bad-output
export default () => ({ value: 0 / 0 });
