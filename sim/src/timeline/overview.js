// The strip above the chart: the whole run, and which part of it the chart shows.

/** Draws the run: who led, who was down, how much happened, what was broken. */
function drawOverview(scene, width, height) {
  const { context, model, view, ink, cursor } = scene;
  const whole = { from: model.begin, to: model.end, width };
  const rows = model.recording.nodes;
  const rowHeight = (height - 14) / Math.max(1, rows);
  for (let node = 1; node <= rows; node++) {
    drawOverviewRow(scene, whole, node, 2 + (node - 1) * rowHeight, rowHeight);
  }
  drawDensity(scene, whole, height);
  for (const index of model.faults) {
    if (index === model.violation) continue;
    context.fillStyle = ink.fault;
    context.fillRect(xOf(whole, model.at[index]), 0, 1, height - 11);
  }
  if (cursor >= 0) {
    context.fillStyle = ink.accent;
    context.fillRect(xOf(whole, model.at[cursor]) - 0.5, 0, 1.5, height);
  }
  if (model.violation >= 0) {
    context.fillStyle = ink.danger;
    context.fillRect(Math.min(width - 2, xOf(whole, model.at[model.violation]) - 1), 0, 2, height);
  }
  drawWindow(context, overviewWindow(view, model, width), width, height, ink);
}

function drawOverviewRow({ context, ink, roles }, whole, node, top, height) {
  for (const { from, to, role } of roles[node]) {
    const left = xOf(whole, from);
    const wide = Math.max(0.7, xOf(whole, to) - left);
    if (role === "!") {
      // A line instead of a bar: down can be told from any role without its colour.
      context.fillStyle = ink["role-down"];
      context.fillRect(left, top + height / 2 - 0.5, wide, 1.4);
      continue;
    }
    context.fillStyle = ink[`role-${ROLES[role]}`] || ink.rule;
    context.globalAlpha = role === "/" ? 0.9 : role === "?" ? 0.7 : 0.3;
    const inset = role === "/" ? 0.5 : height * 0.25;
    context.fillRect(left, top + inset, wide, Math.max(1, height - 2 * inset));
    context.globalAlpha = 1;
  }
}

/** Counted once for each filter and width, not at each frame. */
const densities = new WeakMap();

/** How many shown lines there are in each part of the run. */
function densityOf(model, order, parts) {
  const known = densities.get(order);
  if (known?.length === parts) return known;
  const counts = new Uint32Array(parts);
  densities.set(order, counts);
  const { begin, end } = model;
  for (const index of order) counts[Math.min(parts - 1, Math.floor(((model.at[index] - begin) / (end - begin)) * parts))]++;
  return counts;
}

function drawDensity({ context, model, order, ink }, whole, height) {
  const counts = densityOf(model, order, Math.max(1, Math.floor(whole.width / 2)));
  const most = counts.reduce((a, b) => Math.max(a, b), 1);
  context.fillStyle = ink["text-quiet"];
  counts.forEach((count, part) => {
    // The root keeps quiet parts visible beside bursts.
    const high = Math.sqrt(count / most) * 9;
    context.fillRect(part * 2, height - high, 1.6, high);
  });
}

/** The part of the strip that the chart shows. */
function overviewWindow(view, { begin, end }, width) {
  const whole = { from: begin, to: end, width };
  const left = Math.max(0, xOf(whole, view.from));
  const right = Math.min(width, xOf(whole, view.to));
  const middle = (left + right) / 2;
  // Never too small to be seen and held.
  return right - left >= 6 ? { left, right } : { left: middle - 3, right: middle + 3 };
}

function drawWindow(context, { left, right }, width, height, ink) {
  context.fillStyle = ink.surface;
  context.globalAlpha = 0.55;
  context.fillRect(0, 0, left, height);
  context.fillRect(right, 0, width - right, height);
  context.globalAlpha = 1;
  context.strokeStyle = ink.accent;
  context.lineWidth = 1.5;
  context.strokeRect(left + 0.5, 1, right - left - 1, height - 2);
}
