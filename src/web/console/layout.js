// Where everything stands: columns in the direction of the flow, one kind in each. What a result starts is further to the right,
// so that a flow of several steps is read from left to right too; only what closes a circle goes back.

export const NODE = { width: 200, height: 78 };
const GAP = { x: 76, y: 18, lane: 12 };
const EDGE_OF_PICTURE = { x: 24, top: 52, bottom: 24 };
/** Room that an edge takes where it passes a column. */
const PASSING = 10;
const SWEEPS = 8;

/** The column of a kind, in the first or a later step of the flow. */
const SLOT = { source: 0, topic: 1, trigger: 2, function: 3, target: 4 };
const STEP = 4;

/** The edges that close a circle, found from the sources on. */
function backward(nodes, out) {
  const state = new Map();
  const back = new Set();
  const inward = new Set();
  for (const edges of out.values()) for (const edge of edges) inward.add(edge.to);
  const first = (node) => (node.kind === "source" ? 0 : inward.has(node.id) ? 2 : 1);
  for (const start of [...nodes].sort((a, b) => first(a) - first(b))) {
    if (state.has(start.id)) continue;
    // By hand instead of by recursion: a chain may be long.
    const path = [{ id: start.id, at: 0 }];
    state.set(start.id, "open");
    while (path.length > 0) {
      const top = path.at(-1);
      const edge = (out.get(top.id) ?? [])[top.at++];
      if (!edge) {
        state.set(top.id, "done");
        path.pop();
      } else if (state.get(edge.to) === "open") {
        back.add(edge);
      } else if (!state.has(edge.to)) {
        state.set(edge.to, "open");
        path.push({ id: edge.to, at: 0 });
      }
    }
  }
  return back;
}

/** The column of each node: the first of its kind that is to the right of all that feed it. */
function columns(nodes, ahead) {
  const column = new Map(nodes.map((node) => [node.id, SLOT[node.kind] ?? 0]));
  const kind = new Map(nodes.map((node) => [node.id, node.kind]));
  const waits = new Map(nodes.map((node) => [node.id, 0]));
  const out = new Map();
  for (const edge of ahead) {
    waits.set(edge.to, waits.get(edge.to) + 1);
    if (!out.has(edge.from)) out.set(edge.from, []);
    out.get(edge.from).push(edge.to);
  }
  const ready = nodes.filter((node) => waits.get(node.id) === 0).map((node) => node.id);
  for (let at = 0; at < ready.length; at++) {
    const from = ready[at];
    for (const to of out.get(from) ?? []) {
      let place = column.get(to);
      while (place <= column.get(from) && kind.get(to) !== "source") place += STEP;
      column.set(to, place);
      waits.set(to, waits.get(to) - 1);
      if (waits.get(to) === 0) ready.push(to);
    }
  }
  return column;
}

/** Heights that are as near to those wished for as the order and the room between them allow. */
function settle(items, wished) {
  const offsets = [];
  let offset = 0;
  for (const item of items) {
    offsets.push(offset);
    offset += item.height + GAP.y;
  }
  // Neighbours that would overlap stand together, at the mean of their wishes.
  const blocks = [];
  items.forEach((item, at) => {
    let block = { sum: (wished[at] - offsets[at]) * item.weight, weight: item.weight, count: 1 };
    while (blocks.length > 0 && blocks.at(-1).sum / blocks.at(-1).weight > block.sum / block.weight) {
      const before = blocks.pop();
      block = { sum: before.sum + block.sum, weight: before.weight + block.weight, count: before.count + block.count };
    }
    blocks.push(block);
  });
  let at = 0;
  for (const block of blocks) {
    for (let n = 0; n < block.count; n++, at++) items[at].y = block.sum / block.weight + offsets[at];
  }
}

/** Places of nodes, ways of edges, heads of columns, and the size of it all. */
export function layout(nodes, edges) {
  // A fallback stands beside what it falls back for; what is told of everything would move everything.
  const flowing = edges.filter((edge) => edge.way === "event" || edge.way === "possible");
  const outOf = new Map();
  for (const edge of flowing) {
    if (!outOf.has(edge.from)) outOf.set(edge.from, []);
    outOf.get(edge.from).push(edge);
  }
  const back = backward(nodes, outOf);
  const column = columns(nodes, flowing.filter((edge) => !back.has(edge)));
  const used = [...new Set(column.values())].sort((a, b) => a - b);
  const index = new Map(used.map((place, at) => [place, at]));

  const layers = used.map(() => []);
  const items = new Map();
  for (const node of nodes) {
    const item = { id: node.id, kind: node.kind, layer: index.get(column.get(node.id)), height: NODE.height, weight: 4, before: [], after: [], y: 0 };
    items.set(node.id, item);
    layers[item.layer].push(item);
  }
  // An edge that passes columns has a place of its own in each of them.
  const ways = [];
  for (const edge of edges) {
    const [from, to] = [items.get(edge.from), items.get(edge.to)];
    if (!from || !to) continue;
    const way = { edge, from, to, through: [], ahead: to.layer > from.layer && edge.way !== "told" };
    ways.push(way);
    if (!way.ahead) continue;
    let last = from;
    for (let layer = from.layer + 1; layer < to.layer; layer++) {
      const passing = { layer, height: PASSING, weight: 1, before: [last], after: [], y: 0 };
      last.after.push(passing);
      layers[layer].push(passing);
      way.through.push(passing);
      last = passing;
    }
    last.after.push(to);
    to.before.push(last);
  }

  const place = () => layers.forEach((layer) => layer.forEach((item, at) => (item.at = at)));
  place();
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      const mean = (item) => {
        const near = down ? item.before : item.after;
        return near.length === 0 ? item.at : near.reduce((sum, other) => sum + other.at, 0) / near.length;
      };
      const wished = new Map(layer.map((item) => [item, mean(item)]));
      layer.sort((a, b) => wished.get(a) - wished.get(b) || a.at - b.at);
      layer.forEach((item, at) => (item.at = at));
    }
  }
  for (const layer of layers) settle(layer, layer.map((_, at) => at * (NODE.height + GAP.y)));
  const middle = (item) => item.y + item.height / 2;
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const down = sweep % 2 === 0;
    for (const layer of down ? layers : [...layers].reverse()) {
      const wish = (item) => {
        const sides = [...item.before, ...item.after];
        if (sides.length === 0) return item.y;
        return sides.reduce((sum, other) => sum + middle(other), 0) / sides.length - item.height / 2;
      };
      settle(layer, layer.map(wish));
    }
  }

  const all = layers.flat();
  const top = Math.min(...all.map((item) => item.y), 0);
  let bottom = 0;
  for (const item of all) {
    item.x = EDGE_OF_PICTURE.x + item.layer * (NODE.width + GAP.x);
    item.y = Math.round(item.y - top + EDGE_OF_PICTURE.top);
    bottom = Math.max(bottom, item.y + item.height);
  }
  // What goes back to one place shares a lane below everything.
  const lanes = new Map();
  const lane = (to) => {
    if (!lanes.has(to)) lanes.set(to, lanes.size + 1);
    return bottom + lanes.get(to) * GAP.lane + 4;
  };
  const paths = ways.map((way) => ({ edge: way.edge, ...(way.ahead ? onward(way) : around(way, lane)) }));
  return {
    places: new Map([...items].map(([id, item]) => [id, { x: item.x, y: item.y, column: item.layer, row: item.at }])),
    paths,
    heads: layers.map((layer, at) => ({ kind: layer.find((item) => item.kind).kind, x: EDGE_OF_PICTURE.x + at * (NODE.width + GAP.x) })),
    width: EDGE_OF_PICTURE.x * 2 + used.length * NODE.width + Math.max(0, used.length - 1) * GAP.x,
    height: bottom + EDGE_OF_PICTURE.bottom + (lanes.size > 0 ? GAP.lane * (lanes.size + 1) : 0),
  };
}

const round = Math.round;

function bezier(t, a, b, c, d) {
  const u = 1 - t;
  return a * u ** 3 + 3 * b * t * u ** 2 + 3 * c * t ** 2 * u + d * t ** 3;
}

/** A curve from the right of a node to the left of one further on. */
function onward({ from, to, through }) {
  let [x, y] = [from.x + NODE.width, from.y + from.height / 2];
  let path = `M${x} ${round(y)}`;
  const segments = [];
  for (const next of [...through, to]) {
    const [nx, ny] = [next.x, next.y + next.height / 2];
    const [x0, y0] = [x, y];
    const bend = (nx - x) / 2;
    path += `C${round(x + bend)} ${round(y)} ${round(nx - bend)} ${round(ny)} ${nx} ${round(ny)}`;
    segments.push((part) => ({ x: bezier(part, x0, x0 + bend, nx - bend, nx), y: bezier(part, y0, y0, ny, ny) }));
    [x, y] = [nx, ny];
    if (next !== to) {
      x += NODE.width;
      path += `H${x}`;
    }
  }
  // Labels stand near the end that the edge does not share with others.
  return { path, first: segments[0](0.35), last: segments.at(-1)(0.68) };
}

/** Back to the left: beside the column, or below everything. */
function around({ edge, from, to }, lane) {
  const [x, y] = [from.x + NODE.width, from.y + from.height / 2];
  const [tx, ty] = [to.x, to.y + to.height / 2];
  if (from.layer === to.layer && edge.way === "fallback") {
    // Right to right.
    const bow = x + GAP.x / 2;
    const path = `M${x} ${round(y)}C${bow} ${round(y)} ${bow} ${round(ty)} ${x} ${round(ty)}`;
    const at = { x: bow - 8, y: (y + ty) / 2 };
    return { path, first: at, last: at };
  }
  const low = lane(to);
  const r = GAP.x / 3;
  const path = `M${x} ${round(y)}C${x + r} ${round(y)} ${x + r} ${round(y)} ${x + r} ${round(y + r)}V${round(low - r)}Q${x + r} ${round(low)} ${x} ${round(low)}H${tx}Q${tx - r} ${round(low)} ${tx - r} ${round(low - r)}V${round(ty + r)}C${tx - r} ${round(ty)} ${tx - r} ${round(ty)} ${tx} ${round(ty)}`;
  const at = { x: (x + tx) / 2, y: low };
  return { path, first: at, last: at };
}
