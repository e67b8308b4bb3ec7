// expect: stack
export default () => {
  let it = Iterator.from({ __proto__: null, next: () => ({ done: true }) });
  const { next } = Object.getPrototypeOf(it);
  for (let i = 0; i < 30000; i++) {
    Object.setPrototypeOf(it, { __proto__: null, next });
    it = Iterator.from(it);
  }
  return it.next();
};
