// expect: thrown
export default () => {
  const error = new InternalError("interrupted");
  throw error;
};
