// expect: output-too-large
export default () =>
  new Proxy([], {
    get: (_, key) => (key === 'length' ? 2 ** 53 - 1 : 1),
  });
