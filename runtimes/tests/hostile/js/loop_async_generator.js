// expect: timeout
async function* numbers() {
  for (;;) yield 1;
}
export default async () => {
  for await (const _ of numbers()) {}
};
