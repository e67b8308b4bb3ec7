// expect: timeout
export default () => {
  [3, 2, 1].sort(() => {
    for (;;) {}
  });
};
