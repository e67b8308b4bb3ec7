// expect: memory
// The engine fails without an exception here.
export default () => "\uFDFA".repeat(300000).normalize("NFKD");
