// The page: signs in, asks for the flow as long as somebody looks, and says so when nobody answers.

import { Refused, get, session } from "./api.js";
import { Table, showDetails } from "./details.js";
import { Picture } from "./picture.js";
import { Rates } from "./rates.js";
import { LEGEND, element, rate, short, sign, stateOf } from "./words.js";

/** Between two looks, in ms; sooner after the first, which has no rates yet. */
const EVERY = 2000;
const SECOND_LOOK = 1000;
/** The longest wait for a service that does not answer. */
const LOST_MOST = 5000;

const at = (id) => document.getElementById(id);

let graph = null;
let rates = new Rates();
let chosen = null;
let timer = null;
/** Goes up with each sign in and out: an answer to an earlier question is dropped. */
let turn = 0;
/** When the service was last heard of, while it does not answer. */
let lostSince = null;
let failures = 0;

const picture = new Picture(at("scroll"), choose);
const table = new Table(at("rows"), (id) => {
  choose(id);
  picture.reveal(id);
});

function link(state, text) {
  at("link").dataset.state = state;
  if (at("link").textContent !== text) at("link").textContent = text;
}

function only(name) {
  for (const id of ["sign-in", "flow"]) at(id).hidden = id !== name;
}

function signIn(message) {
  clearTimeout(timer);
  turn++;
  graph = null;
  rates = new Rates();
  lostSince = null;
  link("wait", "Not signed in");
  document.title = "Sign in · hexaFn";
  only("sign-in");
  at("sign-out").hidden = true;
  at("sign-in-message").textContent = message;
  at("token").focus();
}

function signOut() {
  session.token = null;
  choose(null);
  signIn("");
}

at("sign-in-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = at("token").value.trim();
  if (!token) return;
  const mine = ++turn;
  at("sign-in-message").textContent = "";
  try {
    const seen = await get("/admin/graph", token);
    if (mine !== turn) return;
    session.token = token;
    at("token").value = "";
    took(seen);
  } catch (refused) {
    if (mine !== turn) return;
    const known = refused.status === 401 ? "This token is not known here, or it has expired." : refused.message;
    at("sign-in-message").textContent = refused.wait ? `${known} Try again in ${refused.wait} s.` : known;
    at("token").select();
  }
});
at("sign-out").addEventListener("click", signOut);

async function look() {
  clearTimeout(timer);
  timer = null;
  const mine = turn;
  try {
    const seen = await get("/admin/graph");
    if (mine === turn) took(seen);
  } catch (refused) {
    if (mine === turn) missed(refused);
  }
}

/** Asks again after a while, unless nobody looks: a tab that comes to the front asks at once. */
function again(wait) {
  clearTimeout(timer);
  timer = document.hidden ? null : setTimeout(look, wait);
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) {
    clearTimeout(timer);
    timer = null;
  } else if (at("sign-in").hidden && timer === null) {
    look();
  }
});

function took(seen) {
  const first = graph === null;
  graph = seen;
  failures = 0;
  lostSince = null;
  at("lost").hidden = true;
  at("flow").classList.remove("stale");
  rates.add(seen);
  only("flow");
  at("sign-out").hidden = session.token === null;
  link("live", "Live");
  show();
  again(first ? SECOND_LOOK : EVERY);
}

function missed(refused) {
  if (!(refused instanceof Refused)) throw refused;
  if (refused.status === 401 || refused.status === 403) {
    const had = session.token !== null;
    session.token = null;
    const known = had ? "Your token is not valid any more. Sign in again." : "";
    return signIn(refused.status === 403 ? refused.message : known);
  }
  if (refused.status === 429) {
    return again((refused.wait ?? 2) * 1000);
  }
  // Nobody answers, or it is on its way up or down.
  lostSince ??= new Date();
  failures++;
  const time = lostSince.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
  const from = graph ? " What you see is from before." : "";
  const text = `Connection lost at ${time}: ${refused.message}${from} Trying again.`;
  if (at("lost").textContent !== text) at("lost").textContent = text;
  at("lost").hidden = false;
  at("flow").classList.add("stale");
  if (!graph) at("full").hidden = true;
  only("flow");
  link("lost", "Lost");
  document.title = "Lost · hexaFn";
  again(Math.min(LOST_MOST, 1000 * failures));
}

function choose(id) {
  chosen = id;
  picture.chosen(id);
  const node = graph?.nodes.find((one) => one.id === id);
  if (node) {
    showDetails(at("details"), node, graph, rates, (next) => {
      choose(next);
      if (next) picture.reveal(next);
    });
  } else {
    chosen = null;
    at("details").hidden = true;
    at("details").replaceChildren();
    delete at("details").dataset.id;
  }
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && chosen) {
    const back = chosen;
    choose(null);
    picture.reveal(back);
  }
});

function show() {
  const isEmpty = graph.nodes.length === 0;
  at("empty").hidden = !isEmpty;
  at("full").hidden = isEmpty;
  document.title = "Flow · hexaFn";
  const hidden = [];
  if (graph.partly_hidden.length > 0) hidden.push(`This token may not read all ${graph.partly_hidden.join(", ")}; what it may not is left out.`);
  if (graph.topics_left_out > 0) hidden.push(`${graph.topics_left_out} more topics are left out.`);
  at("hidden-parts").textContent = hidden.join(" ");
  at("hidden-parts").hidden = hidden.length === 0;
  if (isEmpty) return;

  picture.show(graph, rates);
  table.show(graph, rates);
  totals();
  attention();
  if (chosen) choose(chosen);
  if (at("find").value) find();
}

/** A sum in which what is not known does not count; null when nothing is. */
function sum(values) {
  const known = values.filter((value) => typeof value === "number");
  return known.length === 0 ? null : known.reduce((all, value) => all + value, 0);
}

function totals() {
  const of = (...kinds) => graph.nodes.filter((node) => kinds.includes(node.kind));
  at("total-in").textContent = rate(sum(of("source").map((node) => rates.ofNode(node))));
  at("total-out").textContent = rate(sum(of("target").map((node) => rates.ofNode(node))));
  at("total-failed").textContent = rate(sum(of("trigger", "target").map((node) => rates.failuresOf(node))));
  const waiting = sum(of("trigger", "target").map((node) => node.waiting));
  at("total-waiting").textContent = waiting === null ? "–" : short(waiting);
  at("total-waiting").dataset.some = String(waiting > 0);
}

function attention() {
  const bad = graph.nodes.filter((node) => stateOf(node).grade === "bad");
  at("attention").hidden = bad.length === 0;
  if (bad.length > 0) document.title = `(${bad.length}) Flow · hexaFn`;
  const key = bad.map((node) => `${node.id} ${node.state}`).join("\n");
  if (at("attention-list").dataset.key === key) return;
  at("attention-list").dataset.key = key;
  at("attention-list").replaceChildren(
    ...bad.map((node) => {
      const { words, grade, sign: shape } = stateOf(node);
      const button = element("button", { type: "button" }, sign(shape, grade), `${node.name}: ${words}`);
      button.addEventListener("click", () => {
        choose(node.id);
        picture.reveal(node.id);
      });
      return element("li", {}, button);
    }),
  );
}

function find() {
  const count = picture.find(at("find").value);
  at("found").textContent = at("find").value.trim() ? `${count} of ${graph.nodes.length}` : "";
}

at("find").addEventListener("input", find);
at("zoom-in").addEventListener("click", () => picture.larger());
at("zoom-out").addEventListener("click", () => picture.smaller());
at("zoom-fit").addEventListener("click", () => picture.fit());
at("scroll").addEventListener("zoomed", () => {
  at("zoom-now").textContent = `${Math.round(picture.zoom * 100)} %`;
});
at("legend").append(...LEGEND.map(([shape, grade, text]) => element("li", {}, sign(shape, grade), ` ${text}`)), element("li", {}, "Thicker lines carry more; dashed ones are fallbacks and what hexaFn tells of its own work."));

look();
