// The picture: drawn once for a flow, and from then on only its figures change.

import { NODE, layout } from "./layout.js";
import { HEADS, ICONS, SIGNS, drawn, rate, short, stateOf } from "./words.js";

const ZOOM = { least: 0.2, most: 2, step: 1.2 };
/** Letters of a name that fit into a node. */
const LETTERS = 17;
/** Beyond so many edges nothing moves, and rates stand at the edges of what is selected alone. */
const MANY_EDGES = 150;

const cut = (text, letters) => (text.length > letters ? `${text.slice(0, letters - 1)}…` : text);

export class Picture {
  #scroll;
  #choose;
  #svg = null;
  #shape = "";
  #laid = null;
  #nodes = new Map();
  #edges = [];
  #zoom = 1;
  #fits = true;
  #focus = null;
  #chosen = null;
  #words = "";
  #graph = null;

  /** `choose` is called with a node's id, or null. */
  constructor(scroll, choose) {
    this.#scroll = scroll;
    this.#choose = choose;
    scroll.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    new ResizeObserver(() => this.#fits && this.fit()).observe(scroll);
  }

  /** Shows a graph. */
  show(graph, rates) {
    this.#graph = graph;
    const shape = JSON.stringify([graph.nodes.map((node) => node.id), graph.edges.map((edge) => [edge.from, edge.to, edge.way])]);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#build(graph);
    }
    for (const node of graph.nodes) this.#figures(this.#nodes.get(node.id), node, rates);
    for (const drawnEdge of this.#edges) this.#flow(drawnEdge, rates.ofEdge(drawnEdge.edge));
  }

  #build(graph) {
    const held = this.#svg?.contains(document.activeElement);
    const laid = layout(graph.nodes, graph.edges);
    this.#laid = laid;
    this.#nodes.clear();
    const svg = drawn("svg", { class: "flow", viewBox: `0 0 ${laid.width} ${laid.height}`, role: "group", "aria-label": "Flow from sources to targets. Arrow keys go from part to part, Enter shows details." });
    const arrow = drawn("marker", { id: "arrow", viewBox: "0 0 8 8", refX: 7, refY: 4, markerWidth: 8, markerHeight: 8, markerUnits: "userSpaceOnUse", orient: "auto" }, drawn("path", { d: "M0 0l8 4-8 4z", class: "arrow" }));
    svg.append(drawn("defs", {}, arrow));
    for (const head of laid.heads) svg.append(drawn("text", { x: head.x, y: 28, class: "head" }, HEADS[head.kind]));
    const [outs, ins] = [new Map(), new Map()];
    for (const { edge } of laid.paths) {
      outs.set(edge.from, (outs.get(edge.from) ?? 0) + 1);
      ins.set(edge.to, (ins.get(edge.to) ?? 0) + 1);
    }
    this.#edges = laid.paths.map(({ edge, path, first, last }) => {
      const line = drawn("path", { d: path, class: `edge ${edge.way}`, "marker-end": "url(#arrow)" });
      const at = outs.get(edge.from) > ins.get(edge.to) ? last : first;
      const label = drawn("text", { x: Math.round(at.x), y: Math.round(at.y) - 5, class: "at", "text-anchor": "middle" });
      return { edge, line, label };
    });
    const lines = drawn("g", { "aria-hidden": "true" }, ...this.#edges.map((edge) => edge.line));
    const labels = drawn("g", { "aria-hidden": "true", class: "labels" }, ...this.#edges.map((edge) => edge.label));
    const cards = drawn("g", {});
    // In the order of reading, which is that of the keyboard too.
    const order = [...graph.nodes].sort((a, b) => {
      const [p, q] = [laid.places.get(a.id), laid.places.get(b.id)];
      return p.column - q.column || p.y - q.y;
    });
    for (const node of order) cards.append(this.#card(node, laid.places.get(node.id)));
    svg.append(lines, cards, labels);
    svg.classList.toggle("calm", laid.paths.length > MANY_EDGES);
    svg.addEventListener("click", (event) => {
      const card = event.target.closest("[data-id]");
      this.#choose(card ? card.dataset.id : null);
    });
    svg.addEventListener("keydown", (event) => this.#key(event));
    this.#svg = svg;
    this.#scroll.replaceChildren(svg);
    this.#focus = this.#nodes.has(this.#focus) ? this.#focus : order[0]?.id ?? null;
    this.#nodes.get(this.#focus)?.group.setAttribute("tabindex", "0");
    if (held) this.#nodes.get(this.#focus)?.group.focus();
    if (this.#fits) this.fit();
    else this.#size();
    this.#mark();
  }

  #card(node, { x, y }) {
    const text = (at, className, more = {}) => drawn("text", { x: at[0], y: at[1], class: className, ...more });
    const end = { "text-anchor": "end" };
    const card = {
      group: drawn("g", { transform: `translate(${x} ${y})`, class: `node ${node.kind}`, role: "button", tabindex: "-1", "data-id": node.id }),
      sign: drawn("path", { transform: "translate(14 39)", "fill-rule": "evenodd" }),
      state: text([31, 50], "state"),
      rate: text([14, 69], "rate"),
      waits: text([NODE.width - 12, 69], "waits", end),
      title: drawn("title"),
    };
    card.group.append(
      card.title,
      drawn("rect", { width: NODE.width, height: NODE.height, rx: 9, class: "box" }),
      drawn("path", { d: `M9 0A9 9 0 0 0 0 9v${NODE.height - 18}a9 9 0 0 0 9 9z`, class: "edge-of-kind", transform: "scale(.55 1)" }),
      drawn("path", { d: ICONS[node.kind], transform: "translate(11 11)", class: "icon" }),
      text([33, 25], "name"),
      card.sign,
      card.state,
      text([NODE.width - 12, 50], "type", end),
      card.rate,
      card.waits,
    );
    card.group.querySelector(".name").textContent = cut(node.name, LETTERS);
    card.group.querySelector(".type").textContent = cut(node.type, 14);
    this.#nodes.set(node.id, card);
    return card.group;
  }

  #figures(card, node, rates) {
    const { words, grade, sign } = stateOf(node);
    card.group.dataset.grade = grade;
    card.group.dataset.state = node.state;
    card.sign.setAttribute("d", SIGNS[sign]);
    card.sign.setAttribute("class", `sign ${grade}`);
    card.state.textContent = words;
    const flows = rates.ofNode(node);
    const fails = rates.failuresOf(node);
    card.rate.textContent = rate(flows);
    const waits = [];
    if (fails > 0) waits.push(`${rate(fails)} failed`);
    if (node.waiting > 0) waits.push(`${short(node.waiting)} waiting`);
    card.waits.textContent = waits.join(" · ");
    card.waits.classList.toggle("failing", fails > 0);
    const told = `${node.kind} ${node.name}, ${node.type}, ${words}, ${rate(flows)}${waits.length > 0 ? `, ${waits.join(", ")}` : ""}`;
    card.title.textContent = node.last_error ? `${told}\n${node.last_error}` : told;
    card.group.setAttribute("aria-label", told);
  }

  #flow({ edge, line, label }, value) {
    const width = value > 0 ? 1.75 + Math.min(6, Math.log2(1 + value) * 0.75) : 1.25;
    line.setAttribute("stroke-width", width.toFixed(2));
    line.classList.toggle("live", value > 0);
    label.textContent = value > 0 ? rate(value) : "";
    label.dataset.to = edge.to;
  }

  /** Shows one as chosen, and what leads to it and from it. */
  chosen(id) {
    this.#chosen = this.#nodes.has(id) ? id : null;
    this.#mark();
  }

  /** Shows those that are looked for; how many there are. */
  find(words) {
    this.#words = words.trim().toLowerCase();
    return this.#mark();
  }

  #mark() {
    if (!this.#graph) return 0;
    const words = this.#words.split(/\s+/).filter(Boolean);
    const text = (node) => `${node.name} ${node.kind} ${node.type} ${stateOf(node).words}`.toLowerCase();
    const found = new Set(this.#graph.nodes.filter((node) => words.every((word) => text(node).includes(word))).map((node) => node.id));
    const related = this.#chosen ? this.#related(this.#chosen) : null;
    const shown = (id) => found.has(id) && (!related || related.has(id));
    for (const [id, card] of this.#nodes) {
      card.group.classList.toggle("dim", !shown(id));
      card.group.classList.toggle("chosen", id === this.#chosen);
      card.group.setAttribute("aria-pressed", String(id === this.#chosen));
    }
    for (const { edge, line, label } of this.#edges) {
      const dim = !shown(edge.from) || !shown(edge.to);
      line.classList.toggle("dim", dim);
      label.classList.toggle("dim", dim);
      const near = this.#chosen && !dim;
      line.classList.toggle("near", Boolean(near));
      label.classList.toggle("near", Boolean(near));
    }
    return found.size;
  }

  /** All that leads to a node and all that it leads to. */
  #related(id) {
    const related = new Set([id]);
    for (const [near, far] of [["from", "to"], ["to", "from"]]) {
      const next = [id];
      const seen = new Set(next);
      while (next.length > 0) {
        const at = next.pop();
        for (const { edge } of this.#edges) {
          // What is told of everything would join everything.
          if (edge[near] !== at || seen.has(edge[far]) || (edge.way === "told" && at !== id)) continue;
          seen.add(edge[far]);
          related.add(edge[far]);
          next.push(edge[far]);
        }
      }
    }
    return related;
  }

  /** Brings a node into view, and the keyboard to it. */
  reveal(id) {
    const card = this.#nodes.get(id);
    if (!card) return;
    this.#take(id);
    card.group.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  #take(id) {
    this.#nodes.get(this.#focus)?.group.setAttribute("tabindex", "-1");
    this.#focus = id;
    this.#nodes.get(id)?.group.setAttribute("tabindex", "0");
  }

  #key(event) {
    const at = event.target.closest?.("[data-id]")?.dataset.id;
    if (!at || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#choose(at);
      return;
    }
    const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!step) return;
    event.preventDefault();
    const here = this.#laid.places.get(at);
    let best = null;
    for (const [id, place] of this.#laid.places) {
      const [aside, down] = [place.column - here.column, place.y - here.y];
      const fits = step[0] !== 0 ? aside * step[0] > 0 : aside === 0 && down * step[1] > 0;
      const far = Math.abs(aside) * 100_000 + Math.abs(down);
      if (fits && (!best || far < best.far)) best = { id, far };
    }
    if (!best) return;
    this.#take(best.id);
    const { group } = this.#nodes.get(best.id);
    group.focus();
    group.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  get zoom() {
    return this.#zoom;
  }

  larger() {
    this.#fits = false;
    this.#to(this.#zoom * ZOOM.step);
  }

  smaller() {
    this.#fits = false;
    this.#to(this.#zoom / ZOOM.step);
  }

  /** As wide as there is room, and no larger than life; not so small that nothing can be read. */
  fit() {
    this.#fits = true;
    if (!this.#laid || this.#scroll.clientWidth === 0) return;
    this.#to(Math.max(0.7, Math.min(1, this.#scroll.clientWidth / this.#laid.width)));
  }

  #to(zoom) {
    this.#zoom = Math.min(ZOOM.most, Math.max(ZOOM.least, zoom));
    this.#size();
  }

  #size() {
    if (!this.#svg) return;
    this.#svg.setAttribute("width", Math.floor(this.#laid.width * this.#zoom));
    this.#svg.setAttribute("height", Math.floor(this.#laid.height * this.#zoom));
    this.#scroll.dispatchEvent(new CustomEvent("zoomed"));
  }

  #wheel(event) {
    // As maps do: with Ctrl, which a pinch is told as.
    if (!event.ctrlKey) return;
    event.preventDefault();
    const before = this.#zoom;
    this.#fits = false;
    this.#to(this.#zoom * Math.exp(-event.deltaY / 300));
    const box = this.#scroll.getBoundingClientRect();
    const grown = this.#zoom / before;
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    this.#scroll.scrollLeft = (this.#scroll.scrollLeft + x) * grown - x;
    this.#scroll.scrollTop = (this.#scroll.scrollTop + y) * grown - y;
  }
}
