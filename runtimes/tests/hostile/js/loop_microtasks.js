// expect: timeout
const again = () => queueMicrotask(again);
export default () => {
  again();
  return new Promise(() => {});
};
