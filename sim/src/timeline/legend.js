// What the marks mean, drawn by the same functions that draw the chart.

const SHAPES = [
  ["append entries, and the reply", (context, ink) => sampleArrow(context, ink, "append", "arrives")],
  ["heartbeat", (context, ink) => sampleArrow(context, ink, "beat", "arrives")],
  ["vote or pre-vote, and the reply", (context, ink) => sampleArrow(context, ink, "vote", "arrives")],
  ["any other: forwarded requests, hello", (context, ink) => sampleArrow(context, ink, "forward", "arrives")],
  ["the second copy of a duplicate", (context, ink) => sampleArrow(context, ink, "append", "duplicate")],
  ["a message that nobody received", (context, ink) => drawStub(context, sampleStub("lost"), ink, true)],
  ["sent, but the run ended first", (context, ink) => drawStub(context, sampleStub("under way"), ink, true)],
  ["a write to the log, from issued to durable", (context, ink) => drawWrite(context, "durable", 8, 56, 4, ink)],
  ["a write that failed", (context, ink) => drawWrite(context, "failed", 8, 54, 4, ink)],
  ["a write cut off by its node's death", (context, ink) => drawWrite(context, "cut off", 8, 54, 4, ink)],
  ["a client's operation, outcome known", (context, ink) => drawOperation(context, { fate: "known" }, 6, 58, 4, 10, ink)],
  ["a client's operation, outcome unknown", (context, ink) => drawOperation(context, { fate: "unknown" }, 6, 58, 4, 10, ink)],
  ["a client's operation without an outcome", (context, ink) => drawOperation(context, { fate: "open" }, 6, 58, 4, 10, ink)],
  ["a client's request arrives", (context, ink) => MARKS.asked.draw(context, 32, 5, ink)],
  ["the node answers a client", (context, ink) => MARKS.answered.draw(context, 32, 2, ink)],
  ["an entry is applied", (context, ink) => [24, 30, 36].forEach((x) => MARKS.applied.draw(context, x, 9, ink))],
  ["another event inside the node", (context, ink) => MARKS.event.draw(context, 32, 9, ink)],
  ["the process dies", (context, ink) => MARKS.dies.draw(context, 32, 9, ink)],
  ["the process starts", (context, ink) => MARKS.starts.draw(context, 32, 8, ink)],
  ["the process is down", (context, ink) => hatch(context, 4, 1, 56, 16, ink["role-down"])],
  ["a fault, for as long as its words say", (context, ink) => sampleFault(context, ink)],
  ["the promise is broken here", (context, ink) => sampleBar(context, ink.danger, 2.5)],
  ["the cursor, and the line it is on", (context, ink) => sampleBar(context, ink.accent, 1)],
];

const WORDS = [
  ["leader", "The node that orders the group's writes. There may be at most one in a term."],
  ["follower", "A node that takes the leader's entries."],
  ["candidate", "A node that asks the others for their votes."],
  ["learner", "A node that takes entries and has no vote (yet)."],
  ["term", "The count of elections; the T in T3. A greater term wins."],
  ["head", "How many entries the node's log holds."],
  ["commit", "How many of them it knows to be final."],
  ["applied", "How many of them it has carried out."],
  ["durable", "Written so that a crash does not lose it."],
];

const KEYS = [
  ["[ ]", "one shown line back, on"],
  ["← →", "pan the chart; in the list, step"],
  ["↑ ↓", "in the list, step"],
  ["+ −", "zoom around the cursor, if it is in sight"],
  ["f  v", "the whole run; the part before the failure"],
  ["p", "to the other end: the receive of a send, the sync of a write"],
  ["/", "to the text filter"],
  ["?", "this legend"],
  ["wheel", "zoom; with Shift, pan"],
];

function sampleArrow(context, ink, sort, fate) {
  const { ink: name, dash } = SORTS[sort];
  context.strokeStyle = ink[name];
  context.setLineDash(dash);
  context.beginPath();
  context.moveTo(6, 4);
  context.lineTo(58, 14);
  context.stroke();
  context.setLineDash([]);
  drawHead(context, { arrow: { fate }, x1: 6, y1: 4, x2: 58, y2: 14 }, ink[name]);
}

function sampleStub(fate) {
  return { arrow: { fate, sort: "append" }, x1: 28, y1: 1, y2: 9 };
}

function sampleFault(context, ink) {
  context.fillStyle = ink.fault;
  context.globalAlpha = 0.16;
  context.fillRect(12, 1, 46, 16);
  context.globalAlpha = 1;
  dashed(context, 12, 1, 17, ink.fault);
  context.fillText("= …", 17, 9);
}

function sampleBar(context, colour, width) {
  context.fillStyle = colour;
  context.fillRect(32 - width / 2, 0, width, 18);
}

/** Fills the legend's lists. */
function fillLegend(byId, marks, ink) {
  const entry = (list, term, words) => {
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.append(term);
    dd.textContent = words;
    list.append(dt, dd);
  };
  for (const id of ["roles", "shapes", "marks", "words", "keys"]) byId(`legend-${id}`).replaceChildren();
  for (const role of ["/", "\\", "?", "."]) entry(byId("legend-roles"), sampleRole(role, ink), ROLES[role]);
  for (const [words, draw] of SHAPES) entry(byId("legend-shapes"), sampleOf(ink, draw), words);
  for (const [kind, mark] of Object.entries(marks)) entry(byId("legend-marks"), mark, KINDS[kind]?.name || kind);
  for (const [word, meaning] of WORDS) entry(byId("legend-words"), word, meaning);
  for (const [key, meaning] of KEYS) entry(byId("legend-keys"), key, meaning);
}

function sampleOf(ink, draw) {
  const canvas = document.createElement("canvas");
  const context = prepare(canvas, 64, 18);
  context.font = `11px ${ink.font}`;
  context.textBaseline = "middle";
  context.lineWidth = 1;
  draw(context, ink);
  return canvas;
}

function sampleRole(role, ink) {
  return sampleOf(ink, (context) => {
    context.fillStyle = ink[`role-${ROLES[role]}`];
    context.globalAlpha = 0.45;
    context.fillRect(0, 1, 64, 16);
    context.globalAlpha = 1;
    context.fillStyle = ink.text;
    context.fillText(role, 29, 9);
  });
}
