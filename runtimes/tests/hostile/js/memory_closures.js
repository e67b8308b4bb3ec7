// expect: memory or timeout
export default () => {
  let last = null;
  for (;;) {
    const before = last;
    last = () => before;
  }
};
