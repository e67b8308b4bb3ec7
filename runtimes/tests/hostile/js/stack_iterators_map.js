// expect: stack
export default () => {
  let it = [1].values();
  for (let i = 0; i < 30000; i++) it = it.map((x) => x);
  return it.toArray();
};
