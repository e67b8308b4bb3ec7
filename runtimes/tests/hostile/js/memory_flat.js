// expect: memory or timeout
export default () => {
  let text = 'xy';
  for (;;) text = (text + text).split('').reverse().join('');
};
