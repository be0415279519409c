// What the recording means: pure functions from its lines to what is drawn.
//
// An index is a line's place in `recording.lines`; a time is in nanoseconds; -1 stands for no line.

/** What each kind of line is called, and the family that it is filtered by. */
const KINDS = {
  send: { family: "messages", name: "sends a message" },
  receive: { family: "messages", name: "receives a message" },
  write: { family: "disk", name: "issues a write to its log" },
  synced: { family: "disk", name: "a write is durable, or failed" },
  asked: { family: "clients", name: "a client's request arrives" },
  answered: { family: "clients", name: "answers a client" },
  client: { family: "clients", name: "a client begins, or learns the outcome" },
  event: { family: "events", name: "says what happened inside" },
  dies: { family: "faults", name: "the process dies" },
  starts: { family: "faults", name: "the process starts" },
  fault: { family: "faults", name: "a fault" },
  world: { family: "faults", name: "the run's own mark" },
};

const FAMILIES = ["messages", "disk", "clients", "events", "faults"];

/** The roles by their characters; `!` and the blank are ours. */
const ROLES = {
  "/": "leader",
  "\\": "follower",
  "?": "candidate",
  ".": "learner",
  "!": "down",
  " ": "starting",
};

/** Everything about a recording that does not change while somebody looks at it. */
function modelOf(recording) {
  const lines = recording.lines;
  const at = timesOf(lines);
  // A recording that was cut begins where its first line does.
  const begin = lines.length && lines[0].number > 1 ? at[0] : 0;
  const end = Math.max(lines.length ? at[lines.length - 1] : 0, begin + 1);
  const model = { recording, lines, at, begin, end };
  model.lives = livesOf(lines, recording.nodes);
  model.states = statesOf(lines);
  model.arrows = arrowsOf(lines, at, end);
  model.writes = writesOf(lines, at, end);
  model.operations = operationsOf(lines, at, end);
  model.marks = indexesOf(lines, (line) => line.node > 0 && line.kind !== "write" && line.kind !== "synced");
  model.faults = indexesOf(lines, (line) => line.kind === "fault" || line.kind === "world");
  model.clients = [...new Set(model.operations.map((operation) => operation.client))].sort((a, b) => a - b);
  model.partner = partnersOf(model);
  model.violation = violationOf(recording);
  model.actors = [...new Set(lines.map((line) => line.actor).filter(Boolean))].sort();
  return model;
}

/** The lines' times, never falling: drawing and searching rely on their order. */
function timesOf(lines) {
  const at = new Float64Array(lines.length);
  let latest = 0;
  lines.forEach((line, index) => {
    latest = Math.max(latest, line.at);
    at[index] = latest;
  });
  return at;
}

function indexesOf(lines, wanted) {
  const found = [];
  lines.forEach((line, index) => {
    if (wanted(line)) found.push(index);
  });
  return found;
}

/** The line that tells of the broken promise; the last one if the run just ended; -1 if all was well. */
function violationOf({ verdict, lines }) {
  if (!verdict) return -1;
  const property = verdict.trim().split(/\s+/).pop();
  const told = lines.findLastIndex((line) => line.kind === "world" && line.text.includes(property));
  return told < 0 ? lines.length - 1 : told;
}

/** For each node when it went up and down: `[{ index, up }]`, in order. */
function livesOf(lines, nodes) {
  const lives = Array.from({ length: nodes + 1 }, () => []);
  lines.forEach((line, index) => {
    if (line.node < 1 || line.node > nodes) return;
    if (line.kind === "starts") lives[line.node].push({ index, up: true });
    if (line.kind === "dies") lives[line.node].push({ index, up: false });
  });
  // Who first starts was down before; of whom we hear nothing, or a death, was up.
  for (const life of lives) {
    const upBefore = !(life.length && life[0].up);
    life.unshift({ index: -1, up: upBefore });
  }
  return lives;
}

/** For each `node/group` the indexes of the lines that tell its state. */
function statesOf(lines) {
  const states = new Map();
  lines.forEach((line, index) => {
    if (!line.state || line.node < 1) return;
    // A line about no group tells the state in the first one.
    const key = `${line.node}/${line.group || 1}`;
    if (!states.has(key)) states.set(key, []);
    states.get(key).push(index);
  });
  return states;
}

/** Whether `node` is up after line `index`, and what it last said of itself in `group`. */
function stateAt(model, node, group, index) {
  const lives = model.lives[node];
  const life = lives[countBelow(lives, index + 1, (change) => change.index) - 1];
  const told = model.states.get(`${node}/${group}`) || [];
  const line = told[countBelow(told, index + 1) - 1];
  // What was said in an earlier life is not the state of this one.
  const known = life.up && line !== undefined && line >= life.index;
  return { up: life.up, state: known ? model.lines[line].state : null };
}

/** How many of `entries`, sorted by `key`, have a key below `limit`: the place of the first other. */
function countBelow(entries, limit, key = (entry) => entry) {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (key(entries[middle]) < limit) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** What `node` was in `group` over time: `[{ from, to, role, term }]`, without gaps. */
function rolesOf(model, node, group) {
  const changes = model.lives[node].map(({ index, up }) => ({ index, role: up ? " " : "!", term: 0 }));
  for (const index of model.states.get(`${node}/${group}`) || []) {
    const { role, term } = model.lines[index].state;
    changes.push({ index, role, term });
  }
  // A line that is both a start and a state: the state comes after the start.
  changes.sort((a, b) => a.index - b.index);
  const roles = [];
  let up = false;
  for (const change of changes) {
    if (change.role === "!" || change.role === " ") up = change.role === " ";
    // The last words of the dying do not bring them back.
    else if (!up) continue;
    const last = roles[roles.length - 1];
    if (last && last.role === change.role && last.term === change.term) continue;
    const from = change.index < 0 ? model.begin : model.at[change.index];
    if (last) last.to = from;
    roles.push({ from, to: model.end, role: change.role, term: change.term });
  }
  return roles;
}

/** Where `node`'s commit count in `group` changed: `[{ at, commit }]`; null while it is down. */
function commitsOf(model, node, group) {
  const told = (model.states.get(`${node}/${group}`) || []).map((index) => ({ index, commit: model.lines[index].state.commit }));
  const downs = model.lives[node].filter(({ index, up }) => index >= 0 && !up).map(({ index }) => ({ index, commit: null }));
  const commits = [];
  for (const { index, commit } of [...told, ...downs].sort((a, b) => a.index - b.index)) {
    if (commits.length && commits[commits.length - 1].commit === commit) continue;
    commits.push({ at: model.at[index], commit });
  }
  return commits;
}

/** Each send with each of its receives; one that was never received ends in -1. */
function arrowsOf(lines, at, end) {
  const sends = new Map();
  const delays = [];
  lines.forEach((line, index) => {
    if (line.message == null) return;
    if (line.kind === "send") sends.set(line.message, { index, receives: [] });
    if (line.kind !== "receive" || !sends.has(line.message)) return;
    const send = sends.get(line.message);
    send.receives.push(index);
    delays.push(at[index] - at[send.index]);
  });
  delays.sort((a, b) => a - b);
  const usual = delays.length ? delays[Math.floor(delays.length * 0.95)] : 0;
  const arrows = [];
  for (const { index, receives } of sends.values()) {
    const line = lines[index];
    const shared = { sent: index, from: line.node, to: line.to || 0, start: at[index], sort: messageSort(line.text) };
    if (!receives.length) {
      // What was sent just before the end may only have been late.
      const fate = end - at[index] <= usual ? "under way" : "lost";
      arrows.push({ ...shared, received: -1, end: at[index], fate });
    }
    receives.forEach((received, copy) => {
      const fate = copy ? "duplicate" : "arrives";
      arrows.push({ ...shared, to: lines[received].node, received, end: at[received], fate });
    });
  }
  return withReach(arrows);
}

/** What a message is for, from its words. */
function messageSort(text) {
  if (/\bheartbeat\b/.test(text)) return "beat";
  if (/vote\b/.test(text) && !/append/.test(text)) return "vote";
  if (/\bappend/.test(text)) return "append";
  return "forward";
}

/** Each write from its issue until it is durable, failed, or its node died. */
function writesOf(lines, at, end) {
  const pending = new Map();
  const writes = [];
  lines.forEach((line, index) => {
    if (line.kind === "dies") {
      for (const write of pending.get(line.node)?.values() || []) Object.assign(write, { end: at[index], fate: "cut off" });
      pending.delete(line.node);
      return;
    }
    const number = /\bwrite (\d+)/.exec(line.text)?.[1];
    if (number === undefined) return;
    if (line.kind === "write") {
      if (!pending.has(line.node)) pending.set(line.node, new Map());
      const write = { node: line.node, number, issued: index, done: -1, start: at[index], end, fate: "pending" };
      pending.get(line.node).set(number, write);
      writes.push(write);
    } else if (line.kind === "synced") {
      const write = pending.get(line.node)?.get(number);
      if (!write) return;
      Object.assign(write, { done: index, end: at[index], fate: /\bfailed\b/.test(line.text) ? "failed" : "durable" });
      pending.get(line.node).delete(number);
    }
  });
  return withReach(writes);
}

/** Each client operation from its begin to its outcome. */
function operationsOf(lines, at, end) {
  const operations = new Map();
  lines.forEach((line, index) => {
    if (line.kind !== "client" || line.op == null) return;
    const operation = operations.get(line.op);
    if (!operation) {
      operations.set(line.op, {
        op: line.op,
        client: line.client || 0,
        actor: line.actor || "",
        began: index,
        ended: -1,
        start: at[index],
        end,
        fate: "open",
      });
    } else {
      const fate = /^(gives up: )?unknown\b/.test(line.text) ? "unknown" : "known";
      Object.assign(operation, { ended: index, end: at[index], fate });
    }
  });
  return withReach([...operations.values()]);
}

/** Adds to each span how far it and all before it reach, so that [`firstReaching`] can search. */
function withReach(spans) {
  let reach = 0;
  for (const span of spans) {
    reach = Math.max(reach, span.end);
    span.reach = reach;
  }
  return spans;
}

/** The place of the first span that could be seen at or after `from`. */
function firstReaching(spans, from) {
  return countBelow(spans, from, (span) => span.reach);
}

/** For each line its other end: the receive of a send, the sync of a write, the outcome of a begin. */
function partnersOf({ lines, arrows, writes, operations }) {
  const partner = new Int32Array(lines.length).fill(-1);
  const pair = (first, second) => {
    if (second < 0) return;
    if (partner[first] < 0) partner[first] = second;
    partner[second] = first;
  };
  for (const { sent, received } of arrows) pair(sent, received);
  for (const { issued, done } of writes) pair(issued, done);
  for (const { began, ended } of operations) pair(began, ended);
  return partner;
}

/** How long a fault lasts, if its words say so. */
function faultLasts(line) {
  const milliseconds = /\bfor (\d+) ms\b/.exec(line.text)?.[1];
  return milliseconds === undefined ? 0 : Number(milliseconds) * 1e6;
}

/** Whether a line tells of an applied entry. */
function isApplied(line) {
  return line.kind === "event" && /\bapplied\b/.test(line.text);
}
