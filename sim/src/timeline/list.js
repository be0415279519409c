// The list of lines. Only the rows that can be seen exist.

const ROW_HEIGHT = 20;
const ROWS_SPARE = 6;

/** A list in `box` that calls `choose(index)` when somebody picks a line. */
function listOf(box, all, model, marks, choose) {
  const rows = new Map();
  let order = [];
  let cursor = -1;

  const rowFor = (place) => {
    const row = makeRow(model, marks, order[place]);
    row.style.top = `${place * ROW_HEIGHT}px`;
    row.id = `row-${order[place]}`;
    row.addEventListener("click", () => choose(order[place]));
    return row;
  };

  const paint = () => {
    const first = Math.max(0, Math.floor(box.scrollTop / ROW_HEIGHT) - ROWS_SPARE);
    const last = Math.min(order.length, Math.ceil((box.scrollTop + box.clientHeight) / ROW_HEIGHT) + ROWS_SPARE);
    for (const [place, row] of rows) {
      if (place >= first && place < last) continue;
      row.remove();
      rows.delete(place);
    }
    const here = placeInOrder(order, cursor);
    for (let place = first; place < last; place++) {
      if (!rows.has(place)) {
        rows.set(place, rowFor(place));
        all.append(rows.get(place));
      }
      const exact = place === here && order[place] === cursor;
      rows.get(place).classList.toggle("here", exact);
      rows.get(place).classList.toggle("near", place === here && !exact);
      rows.get(place).setAttribute("aria-selected", String(exact));
    }
    box.setAttribute("aria-activedescendant", order[here] === cursor ? `row-${cursor}` : "");
  };

  box.addEventListener("scroll", () => requestAnimationFrame(paint));
  const follow = () => {
    const top = Math.max(0, placeInOrder(order, cursor)) * ROW_HEIGHT;
    const inSight = top >= box.scrollTop && top + ROW_HEIGHT <= box.scrollTop + box.clientHeight;
    if (!inSight) box.scrollTop = top - box.clientHeight / 2;
    paint();
  };
  new ResizeObserver(follow).observe(box);
  return {
    /** Other lines are shown now. */
    show(newOrder) {
      order = newOrder;
      rows.clear();
      all.replaceChildren();
      all.style.height = `${order.length * ROW_HEIGHT}px`;
      if (!order.length) all.append(emptyNote(model));
      paint();
    },
    /** Marks the line at the cursor and brings it into sight. */
    follow(newCursor) {
      cursor = newCursor;
      follow();
    },
    /** How many whole rows can be seen. */
    page: () => Math.max(1, Math.floor(box.clientHeight / ROW_HEIGHT) - 1),
  };
}

function emptyNote({ lines }) {
  const note = document.createElement("p");
  note.className = "list-empty";
  note.textContent = lines.length ? "No line passes the filters." : "The run left no lines.";
  return note;
}

/** A row; whatever a line holds is shown as text and never as markup. */
function makeRow(model, marks, index) {
  const line = model.lines[index];
  const row = document.createElement("div");
  row.className = index === model.violation ? "row broken" : "row";
  row.setAttribute("role", "option");
  const cell = (name, text) => {
    const span = document.createElement("span");
    span.className = name;
    span.textContent = text;
    row.append(span);
    return span;
  };
  cell("number", line.number);
  cell("at", stampOf(line.at));
  cell("who", line.node ? `N${line.node}` : line.client ? `c${line.client}` : "");
  const kind = KINDS[line.kind];
  cell(`mark ${kind?.family || ""}`, marks[line.kind] || "·").title = kind?.name || line.kind;
  if (line.actor) cell("actor", line.actor.slice(0, 60));
  cell("what", line.text.slice(0, 400));
  return row;
}
