// Words, signs and numbers that all parts of the page share.

export const KINDS = ["source", "topic", "trigger", "function", "target"];
export const HEADS = { source: "Sources", topic: "Topics", trigger: "Triggers", function: "Functions", target: "Targets" };

/** Of each state: its words, how grave it is, and its sign, since colour alone is not seen by everybody. */
const STATES = {
  running: ["running", "good", "dot"],
  starting: ["starting", "busy", "ring"],
  connecting: ["connecting", "busy", "ring"],
  restarting: ["restarting", "busy", "ring"],
  stopping: ["stopping", "busy", "ring"],
  "breaker-half-open": ["breaker half open", "busy", "ring"],
  paused: ["paused", "still", "bars"],
  disabled: ["disabled", "still", "square"],
  stopped: ["stopped", "still", "square"],
  failed: ["connection failed", "bad", "alert"],
  "breaker-open": ["breaker open", "bad", "alert"],
  quarantined: ["quarantined", "bad", "alert"],
};

export function stateOf(node) {
  const [words, grade, sign] = STATES[node.state] ?? [String(node.state), "busy", "ring"];
  return { words, grade, sign };
}

/** The signs, in a square of 12. */
export const SIGNS = {
  dot: "M6 2a4 4 0 1 0 0 8 4 4 0 0 0 0-8z",
  ring: "M6 1a5 5 0 1 0 0 10A5 5 0 0 0 6 1zm0 2v6a3 3 0 0 1 0-6z",
  bars: "M2 1h3v10H2zM7 1h3v10H7z",
  square: "M1 1h10v10H1zm2 2v6h6V3z",
  alert: "M6 0l6 11H0zM5.2 4v3.4h1.6V4zm0 4.3v1.5h1.6V8.3z",
};

export const LEGEND = [
  ["dot", "good", "running"],
  ["ring", "busy", "on its way"],
  ["bars", "still", "paused"],
  ["square", "still", "off"],
  ["alert", "bad", "fails"],
];

/** The signs of the kinds, in a square of 16. */
export const ICONS = {
  source: "M2 3h7v2H4v6h5v2H2zM7 7h4V4l4 4-4 4V9H7z",
  topic: "M8 1c3.3 0 6 1 6 2.5v9C14 14 11.3 15 8 15s-6-1-6-2.5v-9C2 2 4.7 1 8 1zm0 1.7C5.5 2.7 4 3.3 4 3.6s1.5.9 4 .9 4-.6 4-.9-1.5-.9-4-.9zM4 6v2c0 .3 1.5.9 4 .9s4-.6 4-.9V6c-1 .4-2.4.6-4 .6S5 6.4 4 6zm0 4.3v2c0 .3 1.5 1 4 1s4-.7 4-1v-2c-1 .4-2.4.6-4 .6s-3-.2-4-.6z",
  trigger: "M9 1 3 9h4l-1 6 7-9H8.5z",
  function: "M5.5 2H8v2H6.5C6 4 6 4.3 6 4.8V6.5C6 7.3 5.6 7.8 5 8c.6.2 1 .7 1 1.5v1.7c0 .5 0 .8.5.8H8v2H5.5C4.5 14 4 13.2 4 12V9.7C4 9.2 3.8 9 3.2 9H2V7h1.2C3.8 7 4 6.8 4 6.3V4c0-1.2.5-2 1.5-2zm5 0C11.5 2 12 2.8 12 4v2.3c0 .5.2.7.8.7H14v2h-1.2c-.6 0-.8.2-.8.7V12c0 1.2-.5 2-1.5 2H8v-2h1.5c.5 0 .5-.3.5-.8V9.5c0-.8.4-1.3 1-1.5-.6-.2-1-.7-1-1.5V4.8C10 4.3 10 4 9.5 4H8V2z",
  target: "M8 1a7 7 0 1 1 0 14A7 7 0 0 1 8 1zm0 2a5 5 0 1 0 0 10A5 5 0 0 0 8 3zm0 3a2 2 0 1 1 0 4 2 2 0 0 1 0-4z",
};

/** `12.3/s`; a dash where it is not known. */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value === 0) return "0/s";
  if (value < 0.1) return "<0.1/s";
  return `${short(value)}/s`;
}

/** `999`, `12.3k`, `4.0M`. */
export function short(value) {
  if (value < 9.95 && !Number.isInteger(value)) return value.toFixed(1);
  if (value < 1000) return String(Math.round(value));
  if (value < 999_950) return `${(value / 1000).toFixed(1)}k`;
  return `${(value / 1_000_000).toFixed(1)}M`;
}

/** With its thousands apart. */
export function whole(value) {
  return typeof value === "number" ? value.toLocaleString("en") : "–";
}

/** A time of the service as the clock of whoever looks shows it. */
export function clock(text) {
  const time = new Date(text);
  return Number.isNaN(time.getTime()) ? text : time.toLocaleString([], { dateStyle: "medium", timeStyle: "medium", hour12: false });
}

/** `dead_lettered`: `dead lettered`. */
export function words(name) {
  return name.replaceAll("_", " ");
}

/** An element with attributes and content; texts become text and nothing else. */
export function element(name, attributes = {}, ...content) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

const SVG = "http://www.w3.org/2000/svg";

/** The same of SVG. */
export function drawn(name, attributes = {}, ...content) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...content);
  return made;
}

/** A sign as a picture of its own, for text. */
export function sign(name, grade) {
  return drawn("svg", { viewBox: "0 0 12 12", width: 12, height: 12, class: `sign ${grade}`, "aria-hidden": "true" }, drawn("path", { d: SIGNS[name], "fill-rule": "evenodd" }));
}
