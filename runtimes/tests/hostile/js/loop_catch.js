// expect: timeout
export default () => {
  for (;;) {
    try {
      for (;;) {}
    } catch {
      continue;
    }
  }
};
