// expect: host-calls
export default () => {
  for (;;) console.log('flood');
};
