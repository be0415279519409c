// Mouse, touch and keys; then the page begins.

/** Where an event is on the chart. */
function pointOf(event) {
  const box = canvas.getBoundingClientRect();
  return { x: event.clientX - box.left, y: event.clientY - box.top };
}

function chartPointers() {
  let held = null;
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    held = { x: event.clientX, view: app.view, moved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) return showTip(event);
    const by = event.clientX - held.x;
    if (Math.abs(by) > 3) held.moved = true;
    if (!held.moved) return;
    byId("tip").hidden = true;
    canvas.classList.add("dragged");
    setView(panned(held.view, -by, model));
  });
  const release = (event) => {
    canvas.classList.remove("dragged");
    if (held && !held.moved && event.type === "pointerup") clickAt(pointOf(event));
    held = null;
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => (byId("tip").hidden = true));
  canvas.addEventListener("wheel", (event) => wheel(event, pointOf(event).x), { passive: false });
}

function wheel(event, x) {
  event.preventDefault();
  const sideways = event.shiftKey ? event.deltaX + event.deltaY : event.deltaX;
  if (Math.abs(sideways) > Math.abs(event.shiftKey ? 0 : event.deltaY)) setView(panned(app.view, sideways, model));
  else zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY)) * 0.0022), x);
}

/** The line that was meant, or else the last shown one before that moment. */
function clickAt({ x, y }) {
  const near = lineNear(scene(null), x, y);
  if (near >= 0) return moveCursor(near, false);
  const before = countBelow(model.at, timeOf(app.view, x) + 1) - 1;
  const place = placeInOrder(app.order, before);
  moveCursor(place >= 0 ? app.order[place] : Math.max(0, before), false);
}

function showTip(event) {
  const { x, y } = pointOf(event);
  const near = lineNear(scene(null), x, y);
  const tip = byId("tip");
  tip.hidden = near < 0;
  if (near < 0) return;
  const line = model.lines[near];
  const who = line.node ? `N${line.node} ` : "";
  tip.textContent = `${stampOf(line.at)}  ${who}${marks[line.kind] || "·"} ${line.text.slice(0, 300)}`;
  const chart = byId("chart");
  const gutter = canvas.offsetLeft;
  const left = gutter + x + 14 + tip.offsetWidth > chart.clientWidth ? gutter + x - tip.offsetWidth - 10 : gutter + x + 14;
  tip.style.left = `${Math.max(4, left)}px`;
  tip.style.top = `${Math.max(chart.scrollTop + 2, y - tip.offsetHeight - 10)}px`;
}

function overviewPointers() {
  let grip = null;
  const moveTo = (event) => {
    const box = overview.getBoundingClientRect();
    const span = app.view.to - app.view.from;
    const middle = ((event.clientX - box.left - grip) / box.width) * (model.end - model.begin) + model.begin;
    setView(within({ ...app.view, from: middle - span / 2, to: middle + span / 2 }, model));
  };
  overview.addEventListener("pointerdown", (event) => {
    const box = overview.getBoundingClientRect();
    const x = event.clientX - box.left;
    const { left, right } = overviewWindow(app.view, model, box.width);
    // Held inside, the window moves along; elsewhere it comes to the hand.
    grip = x >= left && x <= right ? x - (left + right) / 2 : 0;
    overview.setPointerCapture(event.pointerId);
    moveTo(event);
  });
  overview.addEventListener("pointermove", (event) => grip !== null && moveTo(event));
  for (const name of ["pointerup", "pointercancel"]) overview.addEventListener(name, () => (grip = null));
  overview.addEventListener("wheel", (event) => wheel(event, app.view.width / 2), { passive: false });
}

/** The chart gets the height that its lanes need, as long as the list keeps some. */
function shareHeight() {
  const stage = document.querySelector(".stage");
  const bars = stage.clientHeight - byId("chart").clientHeight;
  const needed = heightNeeded(model.recording.nodes, model.clients.length) + bars;
  const most = stage.parentElement.clientHeight - 190;
  if (needed > stage.clientHeight && most > stage.clientHeight) stage.style.height = `${Math.min(needed, most)}px`;
}

/** The bar between the chart and the list. */
function splitPointers() {
  const split = byId("split");
  const stage = document.querySelector(".stage");
  const resize = (height) => {
    const most = stage.parentElement.clientHeight - 120;
    stage.style.height = `${Math.min(most, Math.max(180, height))}px`;
  };
  split.addEventListener("pointerdown", (event) => split.setPointerCapture(event.pointerId));
  split.addEventListener("pointermove", (event) => {
    if (split.hasPointerCapture(event.pointerId)) resize(event.clientY - stage.getBoundingClientRect().top);
  });
  split.addEventListener("keydown", (event) => {
    const by = { ArrowUp: -20, ArrowDown: 20 }[event.key];
    if (by) resize(stage.clientHeight + by);
  });
}

const fit = () => setView(wholeRun(app.view, model));
const failure = () => {
  if (model.violation < 0) return;
  app.view = beforeViolation(app.view, model);
  moveCursor(model.violation, false);
};
const PAN = 80;

/** Keys that work wherever the focus is, but not while somebody writes. */
const KEYS_ANYWHERE = {
  "[": () => step(-1),
  "]": () => step(1),
  "+": () => zoom(0.7),
  "=": () => zoom(0.7),
  "-": () => zoom(1 / 0.7),
  f: fit,
  v: failure,
  p: toPartner,
  "/": () => byId("text").focus(),
  "?": () => showLegend(!byId("legend").open),
};
const KEYS_CHART = {
  ArrowLeft: () => setView(panned(app.view, -PAN, model)),
  ArrowRight: () => setView(panned(app.view, PAN, model)),
};
const KEYS_LIST = {
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  ArrowUp: () => step(-1),
  ArrowDown: () => step(1),
  PageUp: () => step(-list.page()),
  PageDown: () => step(list.page()),
  Home: () => step(-app.order.length),
  End: () => step(app.order.length),
};

function keys() {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape") {
      if (byId("legend").open) showLegend(false);
      else if (event.target === byId("text")) canvas.focus();
      return;
    }
    if (event.target.closest?.("input, select, textarea")) return;
    const inList = event.target === byId("list");
    const inChart = event.target === canvas || event.target === document.body;
    const act = (inList && KEYS_LIST[event.key]) || (inChart && KEYS_CHART[event.key]) || KEYS_ANYWHERE[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function showLegend(open) {
  const legend = byId("legend");
  if (open) {
    fillLegend(byId, marks, app.ink);
    legend.show();
  } else {
    legend.close();
  }
  byId("legend-open").setAttribute("aria-expanded", String(open));
}

function buttons() {
  const press = (id, act) => byId(id).addEventListener("click", act);
  press("in", () => zoom(0.6));
  press("out", () => zoom(1 / 0.6));
  press("all", fit);
  press("failure", failure);
  press("back", () => step(-1));
  press("on", () => step(1));
  press("partner", toPartner);
  press("copy", () => copy(byId("copy"), byId("replay")));
  press("legend-open", () => showLegend(!byId("legend").open));
  press("legend-close", () => showLegend(false));
}

/** Takes over what the address says, if it says anything. */
function followAddress() {
  const said = readAddress(location.hash, model.recording.groups.length);
  Object.assign(app.filter, said.filter);
  if (said.view) app.view = within({ ...app.view, ...said.view }, model);
  const cursor = said.line === undefined ? -1 : model.lines.findIndex((line) => line.number === said.line);
  if (cursor >= 0) {
    app.cursor = cursor;
    if (!said.view) revealCursor();
  }
  refilter();
}

function begin() {
  fillHead(byId, model);
  buildFilters();
  chartPointers();
  overviewPointers();
  splitPointers();
  keys();
  buttons();
  app.view = beforeViolation(app.view, model);
  followAddress();
  addEventListener("hashchange", followAddress);
  new ResizeObserver(measure).observe(byId("chart"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    app.ink = inksOf(document.documentElement);
    if (byId("legend").open) fillLegend(byId, marks, app.ink);
    redraw();
  });
  shareHeight();
  measure();
}

begin();
