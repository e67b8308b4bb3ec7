// expect: memory or timeout
export default () => {
  for (;;) queueMicrotask(() => 1);
};
