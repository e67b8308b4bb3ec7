// expect: stack
export default () => {
  const a = {
    get b() {
      return a.b;
    },
  };
  return a;
};
