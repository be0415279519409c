// The head of the page and the gutter: what is said in words beside the drawing.

/** Fills the head from the recording, as text. */
function fillHead(byId, model) {
  const { recording } = model;
  const green = !recording.verdict;
  byId("verdict").textContent = green ? "Green: no promise was broken" : `FAIL  ${recording.verdict}`;
  byId("verdict").className = green ? "green" : "broken";
  byId("explanation").textContent = recording.explanation;
  byId("explanation").hidden = !recording.explanation;
  byId("seed").textContent = recording.seed;
  byId("commit").textContent = recording.commit;
  byId("count").textContent = recording.lines.length.toLocaleString("en");
  byId("length").textContent = spanOf(model.end - model.begin);
  byId("replay").textContent = recording.replay;
  byId("world").textContent = recording.world.join("\n");
  byId("faults").textContent = recording.faults || "none";
  byId("failure").disabled = model.violation < 0;
  document.title = `${recording.verdict || "green"}, seed ${recording.seed}`;
}

/** Copies `text`; where the browser forbids it, the reader finds it selected. */
async function copy(button, source) {
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = label), 1500);
}

/** An element with a class and a text. */
function made(tag, name, text) {
  const element = document.createElement(tag);
  if (name) element.className = name;
  if (text !== undefined) element.textContent = text;
  return element;
}

/** The gutter: beside each lane, the state at the cursor. */
function fillGutter(gutter, { model, layout, filter, cursor }) {
  const boxes = layout.lanes.map((lane) => {
    const { up, state } = stateAt(model, lane.node, filter.group, cursor);
    const role = !up ? "!" : state ? state.role : " ";
    const box = laneBox(lane, `lane ${ROLES[role]}`, filter.hiddenNodes.has(lane.node));
    const title = made("div");
    const name = made("span", "role");
    name.append(made("span", "", role), ` ${ROLES[role]}`);
    title.append(made("b", "", `N${lane.node}`), name);
    box.append(title);
    if (state) box.append(stateList(state));
    return box;
  });
  const client = laneBox(layout.client, "lane clients", filter.hiddenNodes.has(0));
  client.append(made("b", "", "clients"));
  const open = model.operations.filter((operation) => operation.began <= cursor && (operation.ended < 0 || operation.ended > cursor));
  client.append(made("div", "quiet", `${open.length} under way`));
  const when = cursor < 0 ? "" : `at line ${model.lines[cursor].number}, ${stampOf(model.at[cursor])} s`;
  gutter.replaceChildren(made("div", "gutter-when", when), ...boxes, client);
  gutter.style.height = `${layout.height}px`;
}

function laneBox({ top, height }, name, hidden) {
  const box = made("div", hidden ? `${name} hidden-node` : name);
  box.style.top = `${top}px`;
  box.style.height = `${height}px`;
  return box;
}

function stateList(state) {
  const list = made("dl");
  for (const name of ["term", "head", "commit", "applied"]) list.append(made("dt", "", name), made("dd", "", state[name]));
  return list;
}

/** Where and what a line is, in words. */
function whereOf(model, marks, index) {
  const line = model.lines[index];
  const group = line.group ? `group ${line.group} ${model.recording.groups[line.group - 1] || ""}`.trim() : "";
  const who = line.node ? `N${line.node}` : line.client ? `client ${line.client}` : "the world";
  const kind = `${marks[line.kind] || "·"} ${KINDS[line.kind]?.name || line.kind}`;
  return [`line ${line.number}`, `${stampOf(line.at)} s`, who, kind, group, line.actor].filter(Boolean).join("  ·  ");
}

/** What the other end of a line is called on its button. */
function partnerWords(model, index) {
  const partner = model.partner[index];
  if (partner < 0) return "";
  const names = { send: "sent", receive: "received", write: "issued", synced: "synced", client: partner > index ? "outcome" : "begin" };
  const line = model.lines[partner];
  return `${names[line.kind] || "other end"} at line ${line.number}, ${spanOf(Math.abs(model.at[partner] - model.at[index]))} ${partner > index ? "later" : "earlier"}`;
}
