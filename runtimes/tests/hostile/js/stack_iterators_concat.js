// expect: stack or timeout
// Each is begun before the next lies around it, so that no iterator has to be made on the way down.
export default () => {
  let it = new Array(30000).fill(1).values();
  for (let i = 0; i < 20000; i++) {
    it = Iterator.concat(it);
    if (i % 100 === 0) it.next();
  }
  return it.next();
};
