// expect: timeout
export default async () => {
  for (;;) {
    try {
      await null;
      for (;;) {}
    } catch {}
  }
};
