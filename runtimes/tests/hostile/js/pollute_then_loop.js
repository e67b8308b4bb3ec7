// expect: timeout
Object.prototype.toJSON = function () {
  for (;;) {}
};
export default () => ({});
