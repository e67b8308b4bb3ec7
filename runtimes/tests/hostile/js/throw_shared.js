// expect: thrown or memory
// A text of shared parts: 32 KB, and 256 MiB to whoever writes it down.
export default () => {
  let s = "a";
  for (let n = 0; n < 28; n++) s += s;
  throw s;
};
