// expect: bad-output
export default () => new Promise(() => {});
