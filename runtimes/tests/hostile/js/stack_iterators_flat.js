// expect: stack
export default () => {
  let it = [1].values();
  for (let i = 0; i < 20000; i++) {
    const inner = it;
    it = [1].values().flatMap(() => inner);
  }
  for (const x of it) return x;
};
