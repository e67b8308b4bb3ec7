// expect: stack
export default () => {
  let f = function () {};
  for (let i = 0; i < 50000; i++) f = new Proxy(f, {});
  return Reflect.construct(Object, [], f);
};
