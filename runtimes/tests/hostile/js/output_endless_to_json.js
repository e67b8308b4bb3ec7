// expect: bad-output
const more = () => ({
  get next() {
    return more();
  },
});
export default more;
