// expect: thrown or timeout
// Errors of errors of errors, each with a long message: 20,000 ways to the innermost.
export default () => {
  const s = "a".repeat(1e6);
  let x = new Error(s);
  for (let n = 0; n < 6; n++) x = new AggregateError([x, x, x, x, x], s, { cause: x });
  throw x;
};
