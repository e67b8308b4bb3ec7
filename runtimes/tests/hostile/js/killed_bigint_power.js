// expect: killed
export default () => {
  let n = 3n;
  for (let i = 0; i < 25; i++) n = n * n;
  return n % 7n;
};
