// expect: thrown
export default () => {
  const error = new Error('it ran longer than its timeout');
  error.code = 'timeout';
  throw error;
};
