// expect: timeout
export default () => ({
  get a() {
    for (;;) {}
  },
});
