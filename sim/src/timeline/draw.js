// The chart's ground: lanes, roles, commits, disks, clients, faults. Only what can be seen is drawn.
//
// A scene is what a drawing needs: `{ context, model, layout, view, shown, ink, story, cursor }`.

/** The colours, from the style sheet. */
function inksOf(element) {
  const style = getComputedStyle(element);
  const ink = (name) => style.getPropertyValue(`--${name}`).trim();
  const names = [
    "surface", "surface-raised", "surface-sunk", "text", "text-quiet", "rule", "rule-faint", "accent", "accent-soft",
    "danger", "good", "role-leader", "role-follower", "role-candidate", "role-learner", "role-down", "message-append",
    "message-vote", "message-beat", "message-forward", "disk", "client", "fault", "font", "font-mono",
  ];
  return Object.fromEntries(names.map((name) => [name, ink(name)]));
}

/** Makes `canvas` as sharp as the screen, and clears it. */
function prepare(canvas, width, height) {
  const ratio = globalThis.devicePixelRatio || 1;
  const [wide, high] = [Math.round(width * ratio), Math.round(height * ratio)];
  if (canvas.width !== wide || canvas.height !== high) {
    canvas.width = wide;
    canvas.height = high;
  }
  const context = canvas.getContext("2d");
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** Draws everything, from the ground up. */
function drawChart(scene) {
  const { context, ink } = scene;
  context.font = `11px ${ink.font}`;
  context.textBaseline = "middle";
  drawLaneGrounds(scene);
  drawAxis(scene);
  drawFaults(scene);
  for (const lane of scene.layout.lanes) drawCommits(scene, lane);
  drawWrites(scene);
  drawOperations(scene);
  drawArrows(scene);
  drawMarks(scene);
  drawStory(scene);
  for (const lane of scene.layout.lanes) drawRoleNames(scene, lane);
  drawViolation(scene);
  drawCursor(scene);
}

/** The part of a span that can be seen, at least a pixel wide; nothing if it is elsewhere. */
function seenPart(view, from, to) {
  if (to < view.from || from > view.to) return null;
  const left = Math.max(-2, xOf(view, from));
  return { left, width: Math.max(1, Math.min(view.width + 2, xOf(view, to)) - left) };
}

function drawLaneGrounds({ context, layout, view, ink, roles }) {
  for (const lane of layout.lanes) {
    context.fillStyle = ink["surface-sunk"];
    context.fillRect(0, lane.top, view.width, lane.height);
    for (const { from, to, role } of roles[lane.node]) {
      const part = seenPart(view, from, to);
      if (!part) continue;
      if (role === "!") {
        hatch(context, part.left, lane.top, part.width, lane.height, ink["role-down"]);
        continue;
      }
      const name = ROLES[role];
      context.fillStyle = ink[`role-${name}`] || ink["surface-sunk"];
      context.globalAlpha = name === "leader" ? 0.16 : name === "candidate" ? 0.14 : 0.07;
      context.fillRect(part.left, lane.top, part.width, lane.height);
      context.globalAlpha = name === "follower" ? 0.28 : 0.45;
      context.fillRect(part.left, lane.role, part.width, 14);
      context.globalAlpha = 1;
    }
  }
  context.fillStyle = ink["surface-sunk"];
  context.fillRect(0, layout.client.top, view.width, layout.client.height);
}

/** Stripes: the process is down. */
function hatch(context, x, y, width, height, colour) {
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.globalAlpha = 0.12;
  context.fillStyle = colour;
  context.fillRect(x, y, width, height);
  context.globalAlpha = 0.35;
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.beginPath();
  for (let at = x - height - ((x - height) % 8); at < x + width; at += 8) {
    context.moveTo(at, y + height);
    context.lineTo(at + height, y);
  }
  context.stroke();
  context.restore();
}

function drawAxis({ context, layout, view, ink }) {
  const { step, ticks } = ticksOf(view, 120);
  context.strokeStyle = ink["rule"];
  context.fillStyle = ink["text-quiet"];
  context.lineWidth = 1;
  context.globalAlpha = 0.7;
  context.beginPath();
  for (const tick of ticks) {
    const x = Math.round(xOf(view, tick)) + 0.5;
    context.moveTo(x, AXIS_HEIGHT - 5);
    context.lineTo(x, layout.height);
  }
  context.stroke();
  context.globalAlpha = 1;
  for (const tick of ticks) {
    const [words, x] = [secondsOf(tick, step), xOf(view, tick) + 4];
    if (x + context.measureText(words).width < view.width) context.fillText(words, x, AXIS_HEIGHT / 2);
  }
}

/** Names a role where it begins, or at the left edge if it began before. */
function drawRoleNames({ context, view, ink, roles }, lane) {
  context.fillStyle = ink.text;
  for (const { from, to, role, term } of roles[lane.node]) {
    const part = seenPart(view, from, to);
    if (!part) continue;
    const left = Math.max(0, part.left);
    const room = part.left + part.width - left - 6;
    const words = role === "!" ? ["! down", "!"] : role === " " ? ["starting"] : [
      `${role} ${ROLES[role]}  term ${term}`,
      `${role} T${term}`,
      role,
    ];
    const fits = room < 12 ? undefined : words.find((text) => context.measureText(text).width <= room);
    if (fits) context.fillText(fits, left + 4, lane.role + 7.5);
    if (part.left > 0 && part.width > 2) {
      context.fillStyle = ink["text-quiet"];
      context.fillRect(Math.round(part.left), lane.role, 1, 14);
      context.fillStyle = ink.text;
    }
  }
}

/** Where the commit count changes: its number, where there is room for one. */
function drawCommits({ context, view, ink, commits }, lane) {
  const list = commits[lane.node];
  const first = Math.max(0, countBelow(list, view.from, (change) => change.at) - 1);
  let free = -1;
  context.fillStyle = ink["text-quiet"];
  context.font = `10px ${ink.font}`;
  for (let place = first; place < list.length && list[place].at <= view.to; place++) {
    const x = Math.max(0, xOf(view, list[place].at));
    const next = list[place + 1] ? xOf(view, list[place + 1].at) : view.width;
    const text = `commit ${list[place].commit}`;
    const short = String(list[place].commit);
    const fits = [text, short].find((words) => x + 4 + context.measureText(words).width + 6 <= next);
    if (!fits || x < free || list[place].commit === null) continue;
    context.fillText(fits, x + 3, lane.commit + 6);
    free = x + 3 + context.measureText(fits).width + 4;
  }
  context.font = `11px ${ink.font}`;
}

function drawWrites({ context, model, layout, view, shown, ink }) {
  const { writes } = model;
  // What is drawn already hides what would fall on the same pixels.
  const drawnTo = new Float64Array(layout.lanes.length).fill(-1);
  const crossed = new Float64Array(layout.lanes.length).fill(-9);
  for (let place = firstReaching(writes, view.from); place < writes.length && writes[place].start <= view.to; place++) {
    const write = writes[place];
    const lane = layout.lanes[write.node - 1];
    if (!lane || write.end < view.from || !(shown[write.issued] || (write.done >= 0 && shown[write.done]))) continue;
    const left = xOf(view, write.start);
    const right = Math.max(left + 1.5, xOf(view, write.end));
    if (write.fate === "durable" && right <= drawnTo[write.node - 1]) continue;
    drawnTo[write.node - 1] = right;
    const crowded = write.fate !== "durable" && right - crossed[write.node - 1] < 8;
    if (crowded) continue;
    if (write.fate === "failed" || write.fate === "cut off") crossed[write.node - 1] = right;
    drawWrite(context, write.fate, left, right, lane.disk, ink);
  }
}

/** A write: an open bar while it is pending, closed by what came of it. */
function drawWrite(context, fate, left, right, y, ink) {
  context.strokeStyle = ink.disk;
  context.fillStyle = ink.disk;
  context.lineWidth = 1;
  context.globalAlpha = 0.28;
  context.fillRect(left, y + 1, right - left, 7);
  context.globalAlpha = 1;
  if (right - left < 5 && fate === "durable") {
    context.fillRect(left, y + 1, Math.max(1.5, right - left), 7);
    return;
  }
  context.strokeRect(left + 0.5, y + 1.5, right - left - 1, 6);
  if (fate === "durable") context.fillRect(right - 3, y + 1, 3, 7);
  if (fate === "failed" || fate === "cut off") cross(context, right, y + 4.5, 4, fate === "failed" ? ink.danger : ink.text);
}

function cross(context, x, y, size, colour, width = 1.6) {
  context.strokeStyle = colour;
  context.lineWidth = width;
  context.beginPath();
  context.moveTo(x - size, y - size);
  context.lineTo(x + size, y + size);
  context.moveTo(x + size, y - size);
  context.lineTo(x - size, y + size);
  context.stroke();
}

function drawOperations({ context, model, layout, view, shown, ink }) {
  const { operations, clients, lines } = model;
  const height = Math.max(2, Math.min(10, layout.client.row - 1.5));
  const wordedTo = new Float64Array(layout.client.rows).fill(-1);
  context.font = `10px ${ink.font}`;
  for (let place = firstReaching(operations, view.from); place < operations.length; place++) {
    const operation = operations[place];
    if (operation.start > view.to) break;
    const seen = shown[operation.began] || (operation.ended >= 0 && shown[operation.ended]);
    if (operation.end < view.from || !seen) continue;
    const row = clients.indexOf(operation.client);
    const top = layout.client.top + 3 + row * layout.client.row + (layout.client.row - height) / 2;
    const left = xOf(view, operation.start);
    const right = Math.max(left + 2, xOf(view, operation.end));
    drawOperation(context, operation, left, right, top, height, ink);
    const [from, to] = [Math.max(0, left), Math.min(view.width, right)];
    // One client's operations may overlap, in a world where it gave one up; their words may not.
    if (height < 8 || to - from < 50 || from < wordedTo[row]) continue;
    wordedTo[row] = from + drawClipped(context, `${operation.actor} ${lines[operation.began].text}`, from + 4, top + height / 2 + 0.5, to - from - 12, ink.text) + 8;
  }
  context.font = `11px ${ink.font}`;
}

/** An operation: a bar with an edge where its outcome is known, a question mark where it is not. */
function drawOperation(context, { fate }, left, right, top, height, ink) {
  context.fillStyle = ink.client;
  context.globalAlpha = 0.22;
  context.fillRect(left, top, right - left, height);
  context.globalAlpha = 1;
  context.fillRect(left, top, 1.5, height);
  if (fate === "known") context.fillRect(right - 2.5, top, 2.5, height);
  if (fate === "unknown" && right - left > 8) context.fillText("?", right - 7, top + height / 2 + 0.5);
}

/** Text that ends where its room ends; returns its width. */
function drawClipped(context, text, x, y, room, colour) {
  context.fillStyle = colour;
  const glyph = context.measureText("n").width;
  const most = Math.floor(room / glyph);
  if (most < 3) return 0;
  let short = text.length > most * 1.4 ? text.slice(0, Math.floor(most * 1.4)) : text;
  while (short.length > 2 && context.measureText(`${short}…`).width > room) short = short.slice(0, -2);
  const words = short === text ? text : `${short}…`;
  context.fillText(words, x, y);
  return context.measureText(words).width;
}

/** Faults: in the strip above the lanes if they are about all, else in the node's lane. */
function drawFaults({ context, model, layout, view, shown, ink }) {
  const flags = [];
  const wordedTo = new Float64Array(layout.lanes.length + 1).fill(-1);
  for (const index of model.faults) {
    if (model.at[index] > view.to) break;
    const line = model.lines[index];
    const until = model.at[index] + faultLasts(line);
    if (until < view.from || !shown[index] || index === model.violation) continue;
    const lane = layout.lanes[line.node - 1];
    const left = xOf(view, model.at[index]);
    const right = Math.max(left + 2, xOf(view, until));
    const colour = line.kind === "fault" ? ink.fault : ink["text-quiet"];
    drawFault(context, { left, right, lane, layout, colour });
    const text = `${line.kind === "fault" ? "=" : "#"} ${line.text}`;
    const from = Math.max(0, left);
    if (!lane) flags.push({ text, left: from, colour });
    else if (from > wordedTo[line.node]) {
      const room = Math.min(170, Math.max(right - left, 90));
      wordedTo[line.node] = from + drawClipped(context, text, from + 4, lane.anchor, room, colour) + 8;
    }
  }
  // Each has the room up to the next.
  flags.forEach(({ text, left, colour }, place) => {
    const next = place + 1 < flags.length ? flags[place + 1].left : view.width;
    drawClipped(context, text, left + 4, layout.worldTop + WORLD_HEIGHT / 2, next - left - 10, colour);
  });
}

/** A fault's span and its beginning. */
function drawFault(context, { left, right, lane, layout, colour }) {
  const [top, height] = lane ? [lane.anchor - 8, 16] : [layout.worldTop + 2, WORLD_HEIGHT - 4];
  context.fillStyle = colour;
  context.globalAlpha = 0.16;
  context.fillRect(left, top, right - left, height);
  context.globalAlpha = 1;
  if (lane) dashed(context, left, lane.top, lane.top + lane.height, colour);
  else dashed(context, left, layout.worldTop + 2, layout.height, colour);
}

function dashed(context, x, top, bottom, colour) {
  context.strokeStyle = colour;
  context.lineWidth = 1;
  context.setLineDash([3, 3]);
  context.beginPath();
  context.moveTo(x, top);
  context.lineTo(x, bottom);
  context.stroke();
  context.setLineDash([]);
}

function drawViolation({ context, model, layout, view, ink }) {
  if (model.violation < 0) return;
  const x = xOf(view, model.at[model.violation]);
  if (x < -2 || x > view.width + 2) return;
  context.fillStyle = ink.danger;
  context.fillRect(x - 1, AXIS_HEIGHT - 4, 2.5, layout.height);
  context.font = `600 11px ${ink.font}`;
  const words = `# ${model.recording.verdict}`;
  const wide = context.measureText(words).width + 10;
  const left = Math.max(0, x - wide - 4);
  context.fillRect(left, layout.worldTop, wide, WORLD_HEIGHT - 2);
  context.fillStyle = ink["surface-raised"];
  context.fillText(words, left + 5, layout.worldTop + WORLD_HEIGHT / 2 - 1);
  context.font = `11px ${ink.font}`;
}

function drawCursor({ context, model, layout, view, ink, cursor, shown }) {
  if (cursor < 0) return;
  const x = xOf(view, model.at[cursor]);
  if (x < -10 || x > view.width + 10) return;
  context.fillStyle = ink.accent;
  context.fillRect(x - 0.5, 2, 1, layout.height);
  context.beginPath();
  context.moveTo(x - 5, 0);
  context.lineTo(x + 5, 0);
  context.lineTo(x, 7);
  context.fill();
  if (!shown[cursor] || !(model.lines[cursor].node || model.lines[cursor].kind === "client")) return;
  context.strokeStyle = ink.accent;
  context.lineWidth = 2;
  context.beginPath();
  context.arc(x, yOf(model, layout, cursor), 6, 0, 2 * Math.PI);
  context.stroke();
}
