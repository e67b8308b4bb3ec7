// expect: memory
// Texts of one size at a time, of which one in each block of the engine stays.
export default () => {
  const kept = [];
  for (let size = 8; size < 440; size += 16) {
    let all = [];
    const many = 6e6 / (size + 40);
    for (let n = 0; n < many; n++) all.push("x".repeat(size));
    const blocks = Math.floor(4000 / (size + 40));
    kept.push(all.filter((_, n) => n % blocks === 0));
  }
  return kept.length;
};
