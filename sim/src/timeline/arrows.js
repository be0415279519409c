// What moves on the chart: messages, and the marks of single lines.

/** How a sort of message is drawn: its colour and its dashes. */
const SORTS = {
  append: { ink: "message-append", dash: [] },
  vote: { ink: "message-vote", dash: [6, 3] },
  beat: { ink: "message-beat", dash: [1.5, 2.5] },
  forward: { ink: "message-forward", dash: [9, 2, 2, 2] },
};
/** More arrows than this are a texture: no heads, no words. */
const ARROWS_CLEAR = 700;
const ARROWS_WORDED = 70;

/** The arrows that cross the view and pass the filter, each with its ends on the chart. */
function seenArrows({ model, layout, view, shown }) {
  const { arrows } = model;
  const seen = [];
  // Arrows between the same lanes on the same pixels cover each other: one is enough.
  const taken = new Set();
  for (let place = firstReaching(arrows, view.from); place < arrows.length && arrows[place].start <= view.to; place++) {
    const arrow = arrows[place];
    const passesFilter = shown[arrow.sent] || (arrow.received >= 0 && shown[arrow.received]);
    if (arrow.end < view.from || !passesFilter) continue;
    const from = layout.lanes[arrow.from - 1];
    const to = layout.lanes[arrow.to - 1];
    if (!from || !to) continue;
    const x1 = xOf(view, arrow.start);
    const x2 = xOf(view, arrow.end);
    const lost = arrow.received < 0;
    const key = ((Math.round(x1) * 8192 + Math.round(x2)) * 64 + arrow.from * 8 + arrow.to) * 2 + (lost ? 1 : 0);
    if (taken.has(key)) continue;
    taken.add(key);
    seen.push({ arrow, x1, y1: from.anchor, x2, y2: to.anchor, apart: from.words });
  }
  return seen;
}

function drawArrows(scene) {
  const { context, ink } = scene;
  const seen = seenArrows(scene);
  const clear = seen.length <= ARROWS_CLEAR;
  context.globalAlpha = clear ? 0.85 : Math.max(0.12, 300 / seen.length);
  context.lineWidth = 1;
  for (const [sort, { ink: name, dash }] of Object.entries(SORTS)) {
    context.strokeStyle = ink[name];
    context.setLineDash(clear ? dash : []);
    context.beginPath();
    for (const { arrow, x1, y1, x2, y2 } of seen) {
      if (arrow.sort !== sort || arrow.received < 0) continue;
      context.moveTo(x1, y1);
      context.lineTo(x2, y2);
    }
    context.stroke();
  }
  context.setLineDash([]);
  for (const each of seen) {
    if (each.arrow.received < 0) drawStub(context, each, ink, clear);
    else if (clear) drawHead(context, each, ink[SORTS[each.arrow.sort].ink]);
  }
  context.globalAlpha = 1;
  if (seen.length <= ARROWS_WORDED) drawArrowWords(scene, seen);
}

/** A message that nobody received: a stub towards its receiver, with a cross if it is surely lost. */
function drawStub(context, { arrow, x1, y1, y2 }, ink, clear) {
  const reach = Math.sign(y2 - y1) * 16;
  const lost = arrow.fate === "lost";
  context.strokeStyle = lost ? ink.fault : ink[SORTS[arrow.sort].ink];
  context.lineWidth = 1.2;
  context.beginPath();
  context.moveTo(x1, y1);
  context.lineTo(x1 + 6, y1 + reach);
  context.stroke();
  if (lost && clear) cross(context, x1 + 6, y1 + reach, 3.2, ink.fault, 1.6);
}

function drawHead(context, { arrow, x1, y1, x2, y2 }, colour) {
  const angle = Math.atan2(y2 - y1, x2 - x1);
  const [length, spread] = [7, 0.42];
  context.beginPath();
  context.moveTo(x2, y2);
  context.lineTo(x2 - length * Math.cos(angle - spread), y2 - length * Math.sin(angle - spread));
  context.lineTo(x2 - length * Math.cos(angle + spread), y2 - length * Math.sin(angle + spread));
  context.closePath();
  context.fillStyle = colour;
  context.strokeStyle = colour;
  // The second copy of a duplicate arrives with an open head.
  if (arrow.fate === "duplicate") context.stroke();
  else context.fill();
}

/** A message's words without whom it goes to and which group it is about. */
function shortWords(text) {
  return text.replace(/^(to|from) N\d+:? /, "").replace(/^g\d+ /, "");
}

/** Words beside the arrows' ends, where they cover no others. */
function drawArrowWords({ context, model, view, ink }, seen) {
  const placed = [];
  context.font = `10px ${ink.font}`;
  for (const { arrow, x1, y1, x2, y2, apart } of seen) {
    if (arrow.received < 0) continue;
    const text = shortWords(model.lines[arrow.sent].text).slice(0, 26);
    const width = context.measureText(text).width;
    // Only near its ends is an arrow clear of the lanes' other rows.
    const near = apart / Math.abs(y2 - y1);
    for (const share of [near, 1 - near]) {
      const [x, y] = [x1 + (x2 - x1) * share + 6, y1 + (y2 - y1) * share];
      const covers = placed.some((other) => Math.abs(other.y - y) < 12 && x < other.x + other.width + 6 && other.x < x + width + 6);
      if (covers || x < 0 || x + width > view.width) continue;
      placed.push({ x, y, width });
      halo(context, text, x, y, ink["surface-raised"], ink[SORTS[arrow.sort].ink]);
      break;
    }
  }
  context.font = `11px ${ink.font}`;
}

/** Text with a rim, readable on anything. */
function halo(context, text, x, y, rim, colour) {
  context.strokeStyle = rim;
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.strokeText(text, x, y);
  context.fillStyle = colour;
  context.fillText(text, x, y);
}

/** The marks of single lines; of those that fall on the same pixels only the first. */
function drawMarks(scene) {
  const { model, view, shown, layout } = scene;
  const latest = new Map();
  const start = countBelow(model.marks, view.from, (index) => model.at[index]);
  for (let place = start; place < model.marks.length; place++) {
    const index = model.marks[place];
    if (model.at[index] > view.to) break;
    if (!shown[index]) continue;
    const line = model.lines[index];
    const sort = markOf(line, scene.filter.group);
    if (!sort || !layout.lanes[line.node - 1]) continue;
    const x = xOf(view, model.at[index]);
    const row = line.node * 8 + sort.row;
    if (x - (latest.get(row) ?? -9) < sort.apart) continue;
    latest.set(row, x);
    sort.draw(scene.context, x, yOf(model, layout, index), scene.ink);
  }
}

/** How a line is marked in its node's lane; `apart` is how near two of them may stand. */
function markOf(line, group) {
  if (line.kind === "event" && isApplied(line)) return MARKS.applied;
  // A role of the chosen group is already the lane's ground.
  if (line.kind === "event" && line.group === group && /\brole\b/.test(line.text)) return null;
  return MARKS[line.kind];
}

const MARKS = {
  send: { row: 0, apart: 1.5, draw: (context, x, y, ink) => dot(context, x, y, 1.6, ink["text-quiet"]) },
  receive: { row: 1, apart: 1.5, draw: (context, x, y, ink) => dot(context, x, y, 1.6, ink["text-quiet"]) },
  asked: { row: 2, apart: 4, draw: (context, x, y, ink) => triangle(context, x, y + 9, -5, ink.client) },
  answered: { row: 3, apart: 4, draw: (context, x, y, ink) => triangle(context, x, y + 5, 5, ink.client) },
  applied: { row: 4, apart: 1.5, draw: (context, x, y, ink) => tick(context, x, y, ink["role-leader"]) },
  event: { row: 5, apart: 8, draw: (context, x, y, ink) => diamond(context, x, y, 3, ink.text) },
  dies: { row: 6, apart: 6, draw: (context, x, y, ink) => cross(context, x, y, 5, ink.danger, 2.2) },
  starts: { row: 7, apart: 6, draw: (context, x, y, ink) => triangle(context, x, y + 5, -9, ink.good) },
};

function dot(context, x, y, radius, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  context.fill();
}

function tick(context, x, y, colour) {
  context.fillStyle = colour;
  context.fillRect(x - 0.6, y - 4, 1.2, 9);
}

/** A triangle whose point is `height` below its base; above it if `height` is negative. */
function triangle(context, x, y, height, colour) {
  const half = Math.abs(height) * 0.6;
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(x - half, y);
  context.lineTo(x + half, y);
  context.lineTo(x, y + height);
  context.fill();
}

function diamond(context, x, y, size, colour) {
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(x - size, y);
  context.lineTo(x, y - size);
  context.lineTo(x + size, y);
  context.lineTo(x, y + size);
  context.fill();
}

/** The lines that belong to the one under the cursor: of its message, its write, its operation. */
function storyOf(model, cursor) {
  if (cursor < 0) return { arrows: [], steps: [] };
  const line = model.lines[cursor];
  const arrows = line.message == null ? [] : model.arrows.filter(({ sent, received }) => sent === cursor || received === cursor);
  const steps = line.op == null ? [] : indexesOf(model.lines, (other) => other.op === line.op);
  return { arrows, steps };
}

/** Makes the story of the line under the cursor stand out. */
function drawStory({ context, model, layout, view, ink, story }) {
  context.strokeStyle = ink.accent;
  context.lineWidth = 2.2;
  context.beginPath();
  for (const arrow of story.arrows) {
    const [from, to] = [layout.lanes[arrow.from - 1], layout.lanes[arrow.to - 1]];
    if (!from || !to || arrow.received < 0) continue;
    context.moveTo(xOf(view, arrow.start), from.anchor);
    context.lineTo(xOf(view, arrow.end), to.anchor);
  }
  // From step to step of an operation: from the client to a node, and back.
  story.steps.forEach((index, place) => {
    const [x, y] = [xOf(view, model.at[index]), yOf(model, layout, index)];
    if (place === 0) context.moveTo(x, y);
    else context.lineTo(x, y);
  });
  context.globalAlpha = 0.75;
  context.stroke();
  context.globalAlpha = 1;
}
