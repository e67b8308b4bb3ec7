// Rates out of counts: the service counts, and whoever looks divides.

/** Seconds over which a rate is taken: long enough to be calm, short enough to be now. */
const WINDOW = 6;

/** The looks of the last seconds. */
export class Rates {
  #looks = [];

  /** Takes in what was seen. Counts of another process, or of one that slept, are forgotten. */
  add(graph) {
    const last = this.#looks.at(-1);
    if (last && (last.began !== graph.began || graph.seconds < last.seconds || graph.seconds - last.seconds > 3 * WINDOW)) {
      this.#looks = [];
    }
    const counts = new Map();
    for (const node of graph.nodes) {
      counts.set(node.id, node.count);
      counts.set(`failed ${node.id}`, node.failed);
    }
    for (const edge of graph.edges) counts.set(edgeKey(edge), edge.count);
    this.#looks.push({ began: graph.began, seconds: graph.seconds, counts });
    while (this.#looks.length > 2 && graph.seconds - this.#looks[0].seconds > WINDOW) this.#looks.shift();
  }

  /** Events a second; null where that is not known (yet). */
  of(key) {
    const now = this.#looks.at(-1);
    const count = now?.counts.get(key);
    if (typeof count !== "number") return null;
    for (const then of this.#looks) {
      const before = then.counts.get(key);
      // What was put in place anew meanwhile counts anew.
      if (then !== now && typeof before === "number" && before <= count && now.seconds > then.seconds) {
        return (count - before) / (now.seconds - then.seconds);
      }
    }
    return null;
  }

  ofNode(node) {
    return this.of(node.id);
  }

  failuresOf(node) {
    return this.of(`failed ${node.id}`);
  }

  ofEdge(edge) {
    return this.of(edgeKey(edge));
  }
}

export function edgeKey(edge) {
  return `${edge.from} ${edge.to} ${edge.way}`;
}
