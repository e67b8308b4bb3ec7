// expect: thrown
Object.defineProperty(Object.prototype, 'status', {
  set() {
    throw new Error('set');
  },
});
export default () => {
  const answer = {};
  answer.status = 1;
};
