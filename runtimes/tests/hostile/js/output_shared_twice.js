// expect: output-too-large
export default () => {
  let value = ['x'];
  for (let i = 0; i < 50; i++) value = [value, value];
  return value;
};
