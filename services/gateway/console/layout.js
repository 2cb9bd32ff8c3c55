// Where the map's services stand and how its wires run: columns by who calls whom, as few crossings as a few sweeps
// give, a port of its own for each wire. Pure: the same services and links lie the same way every time.

export const CARD = 192;
const LABEL = 150;
const BETWEEN = 22;
const PORT = 37;
const LANE = 14;
const SWEEPS = 6;

/**
 * Lay out. `nodes`: `[{ name, height }]`; `links`: `[{ key, from, to }]`; `width` in pixels.
 * Returns `{ width, height, columns, nodes: Map(name, { x, y, height }), wires: Map(key, { path, y }) }`; a wire's `y` is
 * where it comes in, from the top of its node. Where all does not fit, the width is more than the one asked for.
 */
export function layout(nodes, links, width) {
  const rank = ranks(nodes, links);
  const count = Math.max(1, ...rank.values()) + 1;
  const columns = Array.from({ length: count }, () => []);
  const items = new Map();
  const incoming = (name) => links.filter((link) => link.to === name);
  for (const { name, height } of nodes) {
    const item = { name, height: Math.max(height, incoming(name).length * PORT + 12), before: [], after: [] };
    items.set(name, item);
    columns[rank.get(name)].push(item);
  }
  const sorted = links.toSorted((a, b) => (a.key < b.key ? -1 : 1));
  const chains = new Map(sorted.map((link) => [link.key, chain(link, items, rank, columns)]));
  order(columns);
  const gap = Math.max(LABEL + 16, (width - count * CARD) / (count - 1));
  const height = place(columns, gap);
  ports(chains);
  return {
    width: count * CARD + (count - 1) * gap,
    height,
    columns: columns.map((column) => column.filter((item) => item.name).map((item) => item.name)),
    nodes: new Map([...items].map(([name, { x, y, height: tall }]) => [name, { x, y, height: tall }])),
    wires: new Map([...chains].map(([key, hops]) => [key, wire(hops)])),
  };
}

/** The column of each node: one after the last that leads to it; those that nothing links fill up the columns. */
function ranks(nodes, links) {
  const rank = new Map();
  const visit = (name, under) => {
    if (rank.has(name) || under.has(name)) return rank.get(name) ?? 0;
    const from = links.filter((link) => link.to === name && !under.has(link.from));
    const value = Math.max(0, ...from.map((link) => visit(link.from, new Set(under).add(name)) + 1));
    rank.set(name, value);
    return value;
  };
  const linked = new Set(links.flatMap((link) => [link.from, link.to]));
  for (const { name } of nodes) if (linked.has(name)) visit(name, new Set());
  const count = Math.max(2, ...rank.values()) + 1;
  const taken = Array.from({ length: count }, (_, column) => [...rank.values()].filter((one) => one === column).length);
  for (const { name } of nodes) {
    if (linked.has(name)) continue;
    const column = taken.lastIndexOf(Math.min(...taken));
    taken[column] += 1;
    rank.set(name, column);
  }
  return rank;
}

/** The items a link runs over: its ends, and a lane in each column between. */
function chain(link, items, rank, columns) {
  const [from, to] = [items.get(link.from), items.get(link.to)];
  const hops = [from];
  const step = rank.get(link.to) > rank.get(link.from) ? 1 : -1;
  for (let column = rank.get(link.from) + step; step * (rank.get(link.to) - column) > 0; column += step) {
    const lane = { name: "", height: LANE, before: [], after: [] };
    columns[column].push(lane);
    hops.push(lane);
  }
  hops.push(to);
  for (let index = 1; index < hops.length; index += 1) {
    hops[index].before.push(hops[index - 1]);
    hops[index - 1].after.push(hops[index]);
  }
  return hops;
}

/** Order each column by where its neighbours are. */
function order(columns) {
  const number = () =>
    columns.forEach((column) => column.forEach((item, index) => (item.at = (index + 0.5) / column.length)));
  number();
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const side = sweep % 2 ? "after" : "before";
    for (const column of sweep % 2 ? columns.toReversed() : columns) {
      for (const item of column) item.pull = item[side].length ? mean(item[side].map((each) => each.at)) : item.at;
      column.sort((a, b) => a.pull - b.pull || (a.name < b.name ? -1 : 1));
      number();
    }
  }
}

const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Give each item its place, columns centred beside the tallest; return how tall all is. */
function place(columns, gap) {
  const tall = (column) => column.reduce((sum, item) => sum + item.height + BETWEEN, -BETWEEN);
  const height = Math.max(...columns.map(tall));
  columns.forEach((column, index) => {
    let y = (height - tall(column)) / 2;
    for (const item of column) {
      item.x = Math.round(index * (CARD + gap));
      item.y = Math.round(y);
      y += item.height + BETWEEN;
    }
  });
  return Math.ceil(height);
}

/** Give each wire a port at both ends, in the order of where it comes from or goes to, so that wires do not cross there. */
function ports(chains) {
  const middle = (item) => item.y + item.height / 2;
  const ends = (pick, beyond, spacing, name) => {
    const groups = Map.groupBy(chains.values(), pick);
    for (const [item, hops] of groups) {
      hops.sort((a, b) => middle(beyond(a)) - middle(beyond(b)));
      hops.forEach(
        (each, index) => (each[name] = middle(item) + (index - (hops.length - 1) / 2) * spacing(hops.length, item)),
      );
    }
  };
  ends(
    (hops) => hops.at(-1),
    (hops) => hops.at(-2),
    () => PORT,
    "end",
  );
  ends(
    (hops) => hops[0],
    (hops) => hops[1],
    (count, item) => Math.min(12, (item.height - 16) / count),
    "begin",
  );
}

/** A wire's path: level where it leaves, passes and comes in, bent between. */
function wire(hops) {
  const [from, to] = [hops[0], hops.at(-1)];
  const right = to.x > from.x;
  const points = [[from.x + CARD, hops.begin]];
  for (const lane of hops.slice(1, -1))
    points.push([lane.x - LABEL, lane.y + LANE / 2], [lane.x + CARD, lane.y + LANE / 2]);
  points.push([right ? to.x - LABEL : to.x - 24, hops.end], [to.x, hops.end]);
  let path = `M${points[0]}`;
  for (let index = 1; index < points.length; index += 1) {
    const [[ax, ay], [bx, by]] = [points[index - 1], points[index]];
    const bend = Math.max(40, Math.abs(bx - ax)) / 2;
    path += by === ay && bx > ax ? `L${[bx, by]}` : `C${[ax + bend, ay]} ${[bx - bend, by]} ${[bx, by]}`;
  }
  return { path, y: hops.end - to.y };
}
