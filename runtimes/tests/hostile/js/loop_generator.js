// expect: timeout
function* numbers() {
  for (;;) yield 1;
}
export default () => {
  for (const _ of numbers()) {}
};
