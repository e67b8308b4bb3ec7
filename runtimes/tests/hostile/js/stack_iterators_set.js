// expect: stack
export default () => {
  let keys = new Set([1]).values();
  for (let i = 0; i < 30000; i++) keys = keys.map((x) => x);
  return new Set().union({ size: 1, has: () => true, keys: () => keys }).size;
};
