// expect: thrown
Object.prototype.polluted = 1;
Array.prototype.map = () => 'mine';
JSON.stringify = () => 'mine';
export default () => {
  throw new Error('done');
};
