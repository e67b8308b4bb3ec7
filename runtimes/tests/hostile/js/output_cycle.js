// expect: bad-output
export default () => {
  const a = {};
  a.a = [a];
  return a;
};
