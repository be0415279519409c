// Which lines are shown, and the address that says so. Pure functions.

/** A filter that hides nothing. */
function openFilter(group) {
  return { group, only: false, hiddenNodes: new Set(), hiddenFamilies: new Set(), actor: "", text: "" };
}

/** Whether `filter` hides anything at all. */
function isOpen(filter) {
  return !filter.only && !filter.hiddenNodes.size && !filter.hiddenFamilies.size && !filter.actor && !filter.text;
}

/** Whether `filter` lets `line` through. */
function passes(filter, line) {
  if (filter.hiddenNodes.has(line.node)) return false;
  if (filter.hiddenFamilies.has(KINDS[line.kind]?.family)) return false;
  // A line about no group is about all of them.
  if (filter.only && line.group && line.group !== filter.group) return false;
  if (filter.actor && line.actor !== filter.actor) return false;
  if (!filter.text) return true;
  const sought = filter.text.toLowerCase();
  return line.text.toLowerCase().includes(sought) || (line.actor || "").toLowerCase().includes(sought);
}

/** The lines that pass: `shown[index]` is 1 for each, `order` lists their indexes. */
function shownLines(lines, filter) {
  const shown = new Uint8Array(lines.length);
  const order = [];
  lines.forEach((line, index) => {
    if (!passes(filter, line)) return;
    shown[index] = 1;
    order.push(index);
  });
  return { shown, order };
}

/** The place in `order` of the last shown line at or before line `index`; -1 if there is none. */
function placeInOrder(order, index) {
  return countBelow(order, index + 1) - 1;
}

/** What the address holds: the cursor, the view and the filter. */
function addressOf({ filter, view, cursor, lines }) {
  const parts = new URLSearchParams();
  if (cursor >= 0) parts.set("line", lines[cursor].number);
  parts.set("from", Math.round(view.from));
  parts.set("to", Math.round(view.to));
  parts.set("group", filter.group);
  if (filter.only) parts.set("only", "1");
  if (filter.hiddenNodes.size) parts.set("hide_nodes", [...filter.hiddenNodes].sort().join("."));
  if (filter.hiddenFamilies.size) parts.set("hide", [...filter.hiddenFamilies].join("."));
  if (filter.actor) parts.set("actor", filter.actor);
  if (filter.text) parts.set("text", filter.text);
  return `#${parts}`;
}

/** Reads an address back; what it does not say, or says wrongly, is left out. */
function readAddress(hash, groups) {
  const parts = new URLSearchParams(hash.replace(/^#/, ""));
  const number = (name) => {
    const value = Number(parts.get(name));
    return parts.has(name) && Number.isFinite(value) ? value : undefined;
  };
  const list = (name) => (parts.get(name) || "").split(".").filter(Boolean);
  const said = { line: number("line"), filter: {} };
  if (number("from") < number("to")) said.view = { from: number("from"), to: number("to") };
  if (number("group") >= 1 && number("group") <= groups) said.filter.group = number("group");
  said.filter.only = parts.get("only") === "1";
  said.filter.hiddenNodes = new Set(list("hide_nodes").map(Number));
  said.filter.hiddenFamilies = new Set(list("hide").filter((family) => FAMILIES.includes(family)));
  said.filter.actor = parts.get("actor") || "";
  said.filter.text = parts.get("text") || "";
  return said;
}
