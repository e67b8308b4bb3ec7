// expect: killed
export default () => {
  const text = 'a'.repeat(10000000);
  return text.indexOf('a'.repeat(1000000) + 'b');
};
