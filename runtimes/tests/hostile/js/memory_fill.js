// expect: memory or timeout
export default () => new Array(100000000).fill(1);
