// expect: killed
export default () => {
  const n = 3n ** 500000n;
  let sum = 0n;
  for (let i = 0n; i < 9000n; i++) sum += (n * (n + i)) % 7n;
  return sum;
};
