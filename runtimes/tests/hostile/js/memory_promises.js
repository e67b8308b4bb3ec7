// expect: memory or bad-output or timeout
const again = () => Promise.resolve().then(again);
export default again;
