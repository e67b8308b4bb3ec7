// One part with all that is known of it, and all parts as a table.

import { KINDS, clock, element, rate, sign, stateOf, whole, words } from "./words.js";

/** What a count counts, by kind. */
const COUNTS = { source: "accepted", topic: "newest sequence", trigger: "fired", function: "runs", target: "delivered" };
const ORDER = ["destination", "path", "origin", "on", "when", "topic", "scheme", "last", "last_at", "next", "next_probe_seconds"];

const TIMES = ["last_at", "next"];

function stateElement(node) {
  const { words: text, grade, sign: shape } = stateOf(node);
  return element("span", { class: `state ${grade}` }, sign(shape, grade), ` ${text}`);
}

function shown(value) {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value === "number") return whole(value);
  if (typeof value === "object") return Object.entries(value).map(([key, one]) => `${key}: ${shown(one)}`).join("\n");
  return String(value);
}

/** The neighbours of a node, with what goes between. */
function neighbours(title, edges, end, names, rates, choose) {
  const list = element("ul", { class: "neighbours" });
  for (const edge of edges) {
    const other = names.get(edge[end]);
    if (!other) continue;
    const button = element("button", { type: "button", class: "quiet" }, `${other.kind} ${other.name}`);
    button.addEventListener("click", () => choose(other.id));
    const flows = rates.ofEdge(edge);
    const note = edge.way === "event" ? (flows === null ? "" : rate(flows)) : edge.way;
    list.append(element("li", {}, button, element("span", { class: "n" }, note)));
  }
  return list.childElementCount > 0 ? [element("h3", {}, title), list] : [];
}

/** Fills the panel with a node; `choose` is called with the id of another, or with null to close it. */
export function showDetails(panel, node, graph, rates, choose) {
  const names = new Map(graph.nodes.map((one) => [one.id, one]));
  const close = element("button", { type: "button", class: "quiet close", "aria-label": "Close the details" }, "✕");
  close.addEventListener("click", () => choose(null));
  const list = element("dl");
  const put = (name, value) => list.append(element("dt", {}, name), element("dd", {}, value));
  put("State", stateElement(node));
  put("Rate", rate(rates.ofNode(node)));
  if (node.count !== null) put(words(COUNTS[node.kind] ?? "count"), whole(node.count));
  if (node.failed !== null) put(node.kind === "source" ? "refused" : "failed", whole(node.failed));
  if (node.waiting !== null) put("waiting", whole(node.waiting));
  if (node.retrying !== null) put("to be retried", whole(node.retrying));
  const place = (key) => (ORDER.includes(key) ? ORDER.indexOf(key) : ORDER.length);
  const more = Object.entries(node.details).sort(([a], [b]) => place(a) - place(b));
  for (const [key, value] of more) {
    // Said above.
    if (key === "last" && value === node.last_error) continue;
    put(words(key), TIMES.includes(key) && value ? clock(value) : shown(value));
  }
  // A click on what is in the panel must survive the next look, so what did not change stays.
  const content = [
    element("header", {}, element("div", {}, element("p", { class: "kind" }, `${node.kind} · ${node.type}`), element("h2", {}, node.name)), close),
    ...(node.last_error ? [element("section", { class: "error" }, element("h3", {}, "Last error"), element("pre", {}, node.last_error))] : []),
    list,
    ...neighbours("Comes from", graph.edges.filter((edge) => edge.to === node.id), "from", names, rates, choose),
    ...neighbours("Leads to", graph.edges.filter((edge) => edge.from === node.id), "to", names, rates, choose),
  ];
  const same = panel.dataset.id === node.id;
  const active = same && panel.contains(document.activeElement) ? [...panel.querySelectorAll("button")].indexOf(document.activeElement) : -1;
  const scrolled = same ? panel.scrollTop : 0;
  panel.dataset.id = node.id;
  panel.replaceChildren(...content);
  panel.hidden = false;
  panel.scrollTop = scrolled;
  if (active >= 0) panel.querySelectorAll("button")[active]?.focus();
}

/** The table. Its rows are made once for a flow. */
export class Table {
  #body;
  #choose;
  #rows = new Map();

  constructor(body, choose) {
    this.#body = body;
    this.#choose = choose;
  }

  show(graph, rates) {
    const names = new Map(graph.nodes.map((node) => [node.id, node.name]));
    const after = new Map();
    for (const edge of graph.edges) after.set(edge.from, [...(after.get(edge.from) ?? []), names.get(edge.to)]);
    const ids = graph.nodes.map((node) => node.id);
    if (ids.length !== this.#rows.size || ids.some((id) => !this.#rows.has(id))) this.#build(graph.nodes);
    for (const node of graph.nodes) {
      const { cells, row } = this.#rows.get(node.id);
      const fails = rates.failuresOf(node);
      row.dataset.grade = stateOf(node).grade;
      if (cells.state.dataset.state !== node.state) {
        cells.state.dataset.state = node.state;
        cells.state.replaceChildren(stateElement(node));
      }
      cells.rate.textContent = rate(rates.ofNode(node));
      cells.failed.textContent = node.failed === null ? "" : fails > 0 ? `${whole(node.failed)} (${rate(fails)})` : whole(node.failed);
      cells.waiting.textContent = node.waiting === null ? "" : whole(node.waiting);
      cells.after.textContent = [...new Set(after.get(node.id) ?? [])].join(", ");
    }
  }

  #build(nodes) {
    this.#rows.clear();
    const sorted = [...nodes].sort((a, b) => KINDS.indexOf(a.kind) - KINDS.indexOf(b.kind) || a.name.localeCompare(b.name));
    this.#body.replaceChildren(
      ...sorted.map((node) => {
        const name = element("button", { type: "button", class: "quiet" }, node.name);
        name.addEventListener("click", () => this.#choose(node.id));
        const cell = (className = "") => element("td", className ? { class: className } : {});
        const cells = { state: cell(), rate: cell("n"), failed: cell("n"), waiting: cell("n"), after: cell("after") };
        const kind = element("td", {}, node.kind, element("span", { class: "small" }, ` ${node.type}`));
        const row = element("tr", { "data-id": node.id }, element("th", { scope: "row" }, name), kind, ...Object.values(cells));
        this.#rows.set(node.id, { row, cells });
        return row;
      }),
    );
  }
}
