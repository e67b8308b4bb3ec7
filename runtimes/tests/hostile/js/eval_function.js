// expect: thrown
export default () => new Function('return globalThis')();
