// expect: stack
export default () => {
  let nested = [];
  for (let i = 0; i < 50000; i++) nested = [nested];
  return String(nested);
};
