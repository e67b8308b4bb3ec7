// expect: stack
export default () => {
  let it = Iterator.from({ __proto__: null, next: () => ({ done: true }), return: () => ({}) });
  const given = Object.getPrototypeOf(it);
  for (let i = 0; i < 30000; i++) {
    Object.setPrototypeOf(it, { __proto__: null, next: given.next, return: given.return });
    it = Iterator.from(it);
  }
  return it.return();
};
