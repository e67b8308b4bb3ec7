// expect: stack
export default () => {
  let proxy = {};
  for (let i = 0; i < 20000; i++) proxy = new Proxy(proxy, {});
  return proxy.x;
};
