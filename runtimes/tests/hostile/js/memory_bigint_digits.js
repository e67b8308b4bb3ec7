// expect: thrown
export default () => String((1n << 20000000n) - 1n).length;
