// expect: timeout
const again = () => queueMicrotask(again);
again();
await new Promise(() => {});
export default () => 1;
