// expect: stack
const down = () => down() + 1;
export default down;
