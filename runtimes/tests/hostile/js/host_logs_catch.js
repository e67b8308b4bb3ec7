// expect: host-calls
export default () => {
  for (;;) {
    try {
      console.log('flood');
    } catch {}
  }
};
