// expect: memory or thrown
export default () => {
  let n = 1n;
  for (;;) n = n << 1000000n;
};
