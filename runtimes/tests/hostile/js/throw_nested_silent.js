// expect: thrown or timeout
// The same with nothing to say.
export default () => {
  const none = () => Object.assign(new AggregateError([], ""), { name: "" });
  let x = none();
  for (let n = 0; n < 12; n++) x = Object.assign(none(), { errors: [x, x, x, x, x], cause: x });
  throw x;
};
