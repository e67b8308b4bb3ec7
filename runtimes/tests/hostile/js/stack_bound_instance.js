// expect: thrown
// `instanceof` of a bound function asks the function that it was made of, in the engine itself.
export default () => {
  let f = function () {};
  for (let i = 0; i < 30000; i++) {
    f = f.bind();
    Object.defineProperty(f, "name", { value: "" });
    Object.defineProperty(f, Symbol.hasInstance, { value: undefined });
  }
  return {} instanceof f;
};
