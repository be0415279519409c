// Time and space: where things stand on the chart. Pure functions.

const SPAN_MIN = 2000;
const AXIS_HEIGHT = 20;
const WORLD_HEIGHT = 18;
const LANE_MIN = 50;
const LANE_GAP = 3;

/** Where the time `at` stands on a chart of `view.width` pixels. */
function xOf(view, at) {
  return ((at - view.from) / (view.to - view.from)) * view.width;
}

/** The time that stands at `x`. */
function timeOf(view, x) {
  return view.from + (x / view.width) * (view.to - view.from);
}

/** `view` within the run: neither beyond its ends nor finer than anything happens. */
function within(view, { begin, end }) {
  const margin = (end - begin) * 0.02 + 1000;
  const span = Math.min(Math.max(view.to - view.from, SPAN_MIN), end - begin + 2 * margin);
  const from = Math.min(Math.max(view.from, begin - margin), end + margin - span);
  return { ...view, from, to: from + span };
}

/** `view` made `factor` times as wide in time; what stands at `around` stays there. */
function zoomed(view, factor, around, run) {
  const from = around - (around - view.from) * factor;
  return within({ ...view, from, to: from + (view.to - view.from) * factor }, run);
}

/** `view` moved by `pixels`. */
function panned(view, pixels, run) {
  const by = (pixels / view.width) * (view.to - view.from);
  return within({ ...view, from: view.from + by, to: view.to + by }, run);
}

/** The whole run. */
function wholeRun(view, run) {
  return within({ ...view, from: run.begin, to: run.begin + 3 * (run.end - run.begin) }, run);
}

/** The last part before the broken promise: enough lines to tell what led there. */
function beforeViolation(view, run) {
  const { at, violation } = run;
  if (violation < 0) return wholeRun(view, run);
  const LINES = 90;
  const last = at[violation];
  const first = at[Math.max(0, violation - LINES)];
  const span = Math.min(Math.max(last - first, 5e6), 5e8);
  return within({ ...view, from: last - span, to: last + span * 0.06 }, run);
}

/** Round times for the axis, at least `spacing` pixels apart. */
function ticksOf(view, spacing) {
  const rough = ((view.to - view.from) / view.width) * spacing;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const ticks = [];
  for (let tick = Math.max(0, Math.ceil(view.from / step)); tick * step <= view.to; tick++) ticks.push(tick * step);
  return { step, ticks };
}

/** A time in seconds, as finely as `step` asks. */
function secondsOf(at, step) {
  const decimals = Math.min(9, Math.max(0, Math.ceil(-Math.log10(step / 1e9) - 1e-9)));
  return `${(at / 1e9).toFixed(decimals)} s`;
}

/** A span of time in words. */
function spanOf(nanos) {
  const units = [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]];
  const [size, name] = units.find(([unit]) => Math.abs(nanos) >= unit) || [1, "ns"];
  return `${Number((nanos / size).toPrecision(3))} ${name}`;
}

/** As the trace writes it: seconds and microseconds. */
function stampOf(at) {
  return (Math.floor(at / 1000) / 1e6).toFixed(6);
}

/** The least height at which every lane is readable. */
function heightNeeded(nodes, clients) {
  const client = Math.min(14 + clients * 9, 60);
  return AXIS_HEIGHT + WORLD_HEIGHT + nodes * (LANE_MIN + LANE_GAP) + LANE_GAP + client;
}

/** Where the lanes are: `height` pixels shared by the nodes, the clients and what spans them. */
function layoutOf(height, nodes, clients) {
  const rows = Math.max(1, clients);
  const clientHeight = Math.min(Math.max(30, 14 + rows * 9), Math.max(36, height * 0.24));
  const top = AXIS_HEIGHT + WORLD_HEIGHT;
  const left = height - top - clientHeight - LANE_GAP * (nodes + 1);
  const laneHeight = Math.max(LANE_MIN, Math.floor(left / Math.max(1, nodes)));
  const lanes = [];
  let y = top + LANE_GAP;
  for (let node = 1; node <= nodes; node++) {
    lanes.push({ node, ...laneAt(y, laneHeight) });
    y += laneHeight + LANE_GAP;
  }
  const client = { top: y, height: clientHeight, rows, row: (clientHeight - 6) / rows };
  return { lanes, client, worldTop: AXIS_HEIGHT, top, height: y + clientHeight };
}

/** One lane's rows, from the top: the role, commits and applied entries, messages, the disk. */
function laneAt(top, height) {
  const disk = top + height - 11;
  const commit = top + 15;
  const free = disk - 2 - (commit + 11);
  // Words stand as far from the messages' ends as the row has room for.
  const words = Math.min(9, Math.max(0.5, (free - 10) / 2));
  return { top, height, role: top, commit, anchor: commit + 11 + free / 2, words, disk };
}

/** How high the line at `index` stands, by its kind. */
function yOf(model, layout, index) {
  const line = model.lines[index];
  if (line.kind === "client") {
    const row = Math.max(0, model.clients.indexOf(line.client || 0));
    return layout.client.top + 3 + (row + 0.5) * layout.client.row;
  }
  const lane = layout.lanes[line.node - 1];
  if (!lane) return layout.worldTop + WORLD_HEIGHT / 2;
  if (line.kind === "write" || line.kind === "synced") return lane.disk + 4;
  if (line.kind === "event") return isApplied(line) ? lane.commit + 5 : lane.role + 14;
  return lane.anchor;
}

/** The line that somebody who points at (x, y) means; -1 if nothing is near. */
function lineNear({ model, layout, view, shown }, x, y) {
  const NEAR = 7;
  const from = timeOf(view, x - NEAR);
  const to = timeOf(view, x + NEAR);
  let best = -1;
  let bestDistance = NEAR * NEAR;
  const start = countBelow(model.at, from);
  for (let index = start; index < model.at.length && model.at[index] <= to && index < start + 4000; index++) {
    if (!shown[index]) continue;
    const distance = (xOf(view, model.at[index]) - x) ** 2 + (yOf(model, layout, index) - y) ** 2;
    if (distance < bestDistance) [best, bestDistance] = [index, distance];
  }
  if (best >= 0) return best;
  const bar = barNear({ model, layout, view, shown }, x, y);
  return bar >= 0 ? bar : arrowNear({ model, layout, view, shown }, x, y);
}

/** The write or client operation whose bar covers (x, y). */
function barNear({ model, layout, view, shown }, x, y) {
  const time = timeOf(view, x);
  const covers = (spans, index) => {
    for (let place = firstReaching(spans, time); place < spans.length && spans[place].start <= time; place++) {
      const first = index(spans[place]);
      if (spans[place].end < time || !shown[first]) continue;
      if (Math.abs(yOf(model, layout, first) - y) <= 5) return first;
    }
    return -1;
  };
  const write = covers(model.writes, (span) => span.issued);
  return write >= 0 ? write : covers(model.operations, (span) => span.began);
}

/** The send of the arrow that passes (x, y). */
function arrowNear({ model, layout, view, shown }, x, y) {
  const { arrows } = model;
  const until = timeOf(view, x + 5);
  let best = -1;
  let bestDistance = 5;
  let looked = 0;
  for (let place = firstReaching(arrows, timeOf(view, x - 5)); place < arrows.length && looked < 4000; place++, looked++) {
    const arrow = arrows[place];
    if (arrow.start > until) break;
    if (arrow.received < 0 || !(shown[arrow.sent] || shown[arrow.received])) continue;
    const from = { x: xOf(view, arrow.start), y: layout.lanes[arrow.from - 1]?.anchor };
    const to = { x: xOf(view, arrow.end), y: layout.lanes[arrow.to - 1]?.anchor };
    const distance = distanceToSegment({ x, y }, from, to);
    if (distance < bestDistance) [best, bestDistance] = [arrow.sent, distance];
  }
  return best;
}

function distanceToSegment(point, from, to) {
  const dx = to.x - from.x;
  const dy = to.y - from.y;
  const along = ((point.x - from.x) * dx + (point.y - from.y) * dy) / (dx * dx + dy * dy || 1);
  const share = Math.min(1, Math.max(0, along));
  return Math.hypot(point.x - from.x - share * dx, point.y - from.y - share * dy);
}
