// expect: stack
export default () => JSON.parse('['.repeat(1000000));
