// expect: timeout
const down = () => {
  try {
    down();
  } catch {
    down();
  }
};
export default down;
