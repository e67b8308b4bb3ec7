// expect: stack
export default () => {
  const a = {
    toString() {
      return '' + a;
    },
  };
  return '' + a;
};
