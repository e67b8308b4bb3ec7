// expect: thrown or memory
export default async () => {
  let s = "a";
  for (let n = 0; n < 28; n++) s += s;
  throw new AggregateError([s, s, s, s, s], "many", { cause: s });
};
