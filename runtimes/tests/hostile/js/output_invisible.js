// expect: timeout
export default () => {
  const empty = {};
  for (let i = 0; i < 20000; i++) empty[i] = undefined;
  return new Array(100000).fill(empty);
};
