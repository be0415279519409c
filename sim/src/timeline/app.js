// The page: what is shown now, and what changes it.

const byId = (id) => document.getElementById(id);
const model = modelOf(JSON.parse(byId("recording").textContent));
const marks = Object.fromEntries(JSON.parse(byId("marks").textContent));
const canvas = byId("canvas");
const overview = byId("overview");

const app = {
  filter: openFilter(likelyGroup(model)),
  view: { from: model.begin, to: model.end, width: 1 },
  cursor: model.violation >= 0 ? model.violation : model.lines.length - 1,
  ink: inksOf(document.documentElement),
  story: { arrows: [], steps: [] },
  shown: new Uint8Array(model.lines.length),
  order: [],
  roles: [],
  commits: [],
  layout: layoutOf(300, model.recording.nodes, model.clients.length),
};
const list = listOf(byId("list"), byId("list-all"), model, marks, (index) => moveCursor(index, true));

/** The group that the failure is about; if nobody says, the first. */
function likelyGroup({ lines, violation }) {
  return (violation >= 0 && lines[violation].group) || 1;
}

function scene(context) {
  return { ...app, model, context };
}

/** Draws once, before the next frame, however often it is asked. */
let due = false;
function redraw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    const { width } = app.view;
    drawChart(scene(prepare(canvas, width, app.layout.height)));
    const strip = overview.getBoundingClientRect();
    drawOverview(scene(prepare(overview, strip.width, strip.height)), strip.width, strip.height);
    byId("showing").textContent = `showing ${spanOf(Math.min(model.end - model.begin, app.view.to - app.view.from))} of ${spanOf(model.end - model.begin)}`;
    writeAddress();
  });
}

/** The address follows, but not at every frame: browsers forbid that. */
let addressDue = 0;
function writeAddress() {
  clearTimeout(addressDue);
  addressDue = setTimeout(() => {
    const address = addressOf({ ...app, lines: model.lines });
    if (address !== location.hash) history.replaceState(null, "", address);
  }, 250);
}

function setView(view) {
  app.view = view;
  byId("tip").hidden = true;
  redraw();
}

/** The space for the chart has changed. */
function measure() {
  const chart = byId("chart");
  const gutter = byId("gutter").getBoundingClientRect().width;
  app.layout = layoutOf(chart.clientHeight, model.recording.nodes, model.clients.length);
  app.view = { ...app.view, width: Math.max(50, chart.clientWidth - gutter) };
  canvas.style.height = `${app.layout.height}px`;
  fillGutter(byId("gutter"), { ...app, model });
  redraw();
}

/** The filter has changed. */
function refilter() {
  Object.assign(app, shownLines(model.lines, app.filter));
  const nodes = Array.from({ length: model.recording.nodes + 1 }, (_, node) => node);
  app.roles = nodes.map((node) => (node ? rolesOf(model, node, app.filter.group) : []));
  app.commits = nodes.map((node) => (node ? commitsOf(model, node, app.filter.group) : []));
  showFilter();
  list.show(app.order);
  moveCursor(app.cursor, false);
}

/** Moves the cursor to a line, and the chart too if the line would be out of sight. */
function moveCursor(index, reveal) {
  if (!model.lines.length) return redraw();
  app.cursor = Math.min(Math.max(index, 0), model.lines.length - 1);
  app.story = storyOf(model, app.cursor);
  if (reveal) revealCursor();
  byId("detail-where").textContent = whereOf(model, marks, app.cursor);
  byId("detail-text").textContent = model.lines[app.cursor].text;
  byId("partner").textContent = partnerWords(model, app.cursor);
  byId("partner").hidden = model.partner[app.cursor] < 0;
  const place = placeInOrder(app.order, app.cursor) + 1;
  byId("place").textContent = `${place.toLocaleString("en")} of ${app.order.length.toLocaleString("en")} lines`;
  list.follow(app.cursor);
  fillGutter(byId("gutter"), { ...app, model });
  redraw();
}

function revealCursor() {
  const at = model.at[app.cursor];
  const { from, to } = app.view;
  const margin = (to - from) * 0.02;
  if (at > from + margin && at < to - margin) return;
  const half = (to - from) / 2;
  app.view = within({ ...app.view, from: at - half, to: at + half }, model);
}

/** Steps over shown lines. */
function step(by) {
  const { order, cursor } = app;
  if (!order.length) return;
  let place = placeInOrder(order, cursor);
  // From a hidden line the step back is to the shown line before it.
  if (by < 0 && order[place] !== cursor) place += 1;
  moveCursor(order[Math.min(Math.max(place + by, 0), order.length - 1)], true);
}

function zoom(factor, x) {
  const { view } = app;
  const cursorX = app.cursor >= 0 ? xOf(view, model.at[app.cursor]) : -1;
  const inSight = cursorX >= 0 && cursorX <= view.width;
  const around = timeOf(view, x ?? (inSight ? cursorX : view.width / 2));
  setView(zoomed(view, factor, around, model));
}

function toPartner() {
  if (model.partner[app.cursor] >= 0) moveCursor(model.partner[app.cursor], true);
}

// ---- the filter's controls

/** A button that is pressed while what it names is shown. */
function toggle(box, words, title, hidden, value) {
  const button = made("button", "", words);
  button.type = "button";
  button.title = title;
  button.addEventListener("click", () => {
    if (!hidden().delete(value)) hidden().add(value);
    refilter();
  });
  box.append(button);
  return () => button.setAttribute("aria-pressed", String(!hidden().has(value)));
}

const shows = [];
function buildFilters() {
  model.recording.groups.forEach((namespace, place) => {
    byId("group").append(new Option(`${place + 1} ${namespace}`, String(place + 1)));
  });
  for (const actor of model.actors) byId("actor").append(new Option(actor, actor));
  for (let node = 1; node <= model.recording.nodes; node++) {
    shows.push(toggle(byId("nodes"), `N${node}`, `Lines of node ${node}`, () => app.filter.hiddenNodes, node));
  }
  shows.push(toggle(byId("nodes"), "world", "Lines of clients and the world", () => app.filter.hiddenNodes, 0));
  for (const family of FAMILIES) {
    const kinds = Object.keys(KINDS).filter((kind) => KINDS[kind].family === family);
    const title = kinds.map((kind) => `${marks[kind] || "·"} ${KINDS[kind].name}`).join("\n");
    shows.push(toggle(byId("families"), family, title, () => app.filter.hiddenFamilies, family));
  }
  const change = (id, name, read) => byId(id).addEventListener("input", () => {
    app.filter[name] = read(byId(id));
    refilter();
  });
  change("group", "group", (control) => Number(control.value));
  change("only", "only", (control) => control.checked);
  change("actor", "actor", (control) => control.value);
  change("text", "text", (control) => control.value);
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("reset", (event) => {
    event.preventDefault();
    app.filter = openFilter(app.filter.group);
    refilter();
  });
}

/** The controls say what the filter is. */
function showFilter() {
  byId("group").value = String(app.filter.group);
  byId("only").checked = app.filter.only;
  byId("actor").value = app.filter.actor;
  if (byId("text").value !== app.filter.text) byId("text").value = app.filter.text;
  byId("clear").disabled = isOpen(app.filter);
  for (const show of shows) show();
}
