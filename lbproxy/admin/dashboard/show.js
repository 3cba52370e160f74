// Numbers as text, and tables whose rows stay the same elements while their cells change.

export const number = (value) => (value == null ? "" : Math.round(value).toLocaleString("en"));
export const rate = (value) =>
  value == null ? "–" : value >= 100 ? number(value) : value >= 10 ? value.toFixed(1) : value > 0 ? value.toFixed(2) : "0";
export const percent = (value) =>
  value == null ? "" : value === 0 ? "0%" : `${(100 * value).toFixed(value < 0.1 ? 2 : 1)}%`;

export function bytes(value) {
  if (value == null) return "";
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (value < 1000) return `${value < 10 && unit !== "B" ? value.toFixed(1) : Math.round(value)} ${unit}`;
    value /= 1000;
  }
  return `${value.toFixed(1)} TB`;
}

export function seconds(value) {
  if (value == null) return "–";
  if (value === 0) return "0";
  if (value < 0.001) return `${Math.round(value * 1e6)} µs`;
  if (value < 1) return `${(value * 1e3).toFixed(value < 0.01 ? 1 : 0)} ms`;
  return value < 100 ? `${value.toFixed(1)} s` : span(value);
}

export function span(value) {
  const parts = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
  const at = parts.findIndex(([, size]) => value >= size);
  if (at < 0) return "0s";
  const [unit, size] = parts[at];
  const whole = Math.floor(value / size);
  const next = parts[at + 1];
  const rest = next ? Math.floor((value - whole * size) / next[1]) : 0;
  return rest ? `${whole}${unit} ${rest}${next[0]}` : `${whole}${unit}`;
}

export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString("en-GB");
export const date = (unix) => new Date(unix * 1000).toISOString().slice(0, 19).replace("T", " ");

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "class") made.className = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// States have a shape and a word, not only a colour.
const LOOKS = {
  up: ["●", "good"], down: ["▼", "bad"], drain: ["◐", "warn"], maint: ["■", "warn"],
  error: ["▲", "bad"], warning: ["◆", "warn"], info: ["○", ""],
};

export function pill(word) {
  const [shape, look] = LOOKS[word] || ["○", ""];
  const mark = element("span", { "aria-hidden": "true" }, `${shape} `);
  return element("span", { class: `pill ${look}` }, mark, word);
}

const PHONE = "(max-width: 40rem)";
const PHONE_ROWS = 8; // cards on one page of a narrow screen
const NOTHING = new Set(["", "0", "–", "0 B"]);

// columns: {title, text(row), value(row)?, kind: "number"|"wrap"|"", node(row, cell)?, wide: bool}
// A phone does not show columns that are wide, and numbers that are zero.
export class Table {
  constructor(holder, caption, columns, { key, page = 50, empty = "none", sort = -1, down = false } = {}) {
    this.columns = columns;
    this.key = key;
    this.page = matchMedia(PHONE).matches ? Math.min(page, PHONE_ROWS) : page;
    this.offset = 0;
    this.sorted = sort;
    this.down = down;
    this.rows = [];
    this.nodes = new Map();
    this.total = null; // set when the rows are one page of a longer list elsewhere
    this.onpage = () => this.draw();
    const head = element("tr");
    this.heads = columns.map((column, at) => {
      const cell = element("th", { scope: "col", class: column.kind || "" });
      if (column.value) {
        const button = element("button", { type: "button" }, column.title);
        button.addEventListener("click", () => this.sortBy(at));
        cell.append(button);
      } else {
        cell.append(column.title);
      }
      head.append(cell);
      return cell;
    });
    this.body = element("tbody");
    const title = element("caption", { class: "visually-hidden" }, caption);
    this.table = element("table", {}, title, element("thead", {}, head), this.body);
    this.empty = element("p", { class: "empty" }, empty);
    this.words = element("p", {});
    this.back = element("button", { type: "button" }, "Previous");
    this.next = element("button", { type: "button" }, "Next");
    this.back.addEventListener("click", () => this.turn(-1));
    this.next.addEventListener("click", () => this.turn(1));
    this.pages = element("div", { class: "pages" }, this.back, this.next, this.words);
    holder.replaceChildren(this.table, this.empty, this.pages);
    this.mark();
  }

  sortBy(at) {
    this.down = this.sorted === at ? !this.down : this.columns[at].kind === "number";
    this.sorted = at;
    this.offset = 0;
    this.mark();
    this.draw();
  }

  mark() {
    this.heads.forEach((cell, at) => {
      const words = at === this.sorted ? (this.down ? "descending" : "ascending") : "none";
      if (this.columns[at].value) cell.setAttribute("aria-sort", words);
      const button = cell.querySelector("button");
      if (button) {
        const arrow = at === this.sorted ? (this.down ? " ▾" : " ▴") : "";
        setText(button, this.columns[at].title + arrow);
      }
    });
  }

  turn(step) {
    this.offset = Math.max(0, this.offset + step * this.page);
    this.onpage();
  }

  show(rows, total = null) {
    this.rows = rows;
    this.total = total;
    this.draw();
  }

  draw() {
    let rows = this.rows;
    const column = this.columns[this.sorted];
    if (column && this.total === null) {
      const sign = this.down ? -1 : 1;
      rows = [...rows].sort((a, b) => {
        const x = column.value(a);
        const y = column.value(b);
        return x < y ? -sign : x > y ? sign : 0;
      });
    }
    const total = this.total === null ? rows.length : this.total;
    if (this.offset >= total) this.offset = total ? Math.floor((total - 1) / this.page) * this.page : 0;
    const shown = this.total === null ? rows.slice(this.offset, this.offset + this.page) : rows;
    const seen = new Set();
    shown.forEach((row, at) => {
      const key = this.key(row);
      seen.add(key);
      const line = this.line(key);
      this.fill(line, row);
      if (this.body.children[at] !== line.node) this.body.insertBefore(line.node, this.body.children[at] || null);
    });
    for (const [key, line] of this.nodes) {
      if (!seen.has(key)) {
        line.node.remove();
        this.nodes.delete(key);
      }
    }
    this.empty.hidden = total > 0;
    this.table.hidden = total === 0;
    this.pages.hidden = total <= this.page;
    this.back.disabled = this.offset === 0;
    this.next.disabled = this.offset + this.page >= total;
    setText(this.words, `${number(this.offset + 1)} to ${number(Math.min(this.offset + this.page, total))} of ${number(total)}`);
  }

  line(key) {
    let line = this.nodes.get(key);
    if (!line) {
      const cells = this.columns.map((column, at) =>
        at === 0
          ? element("th", { scope: "row", class: column.kind || "" })
          : element("td", { class: `${column.kind || ""} ${column.wide ? "wide" : ""}`.trim(), "data-label": column.title }),
      );
      line = { node: element("tr", {}, ...cells), cells, drawn: [] };
      this.nodes.set(key, line);
    }
    return line;
  }

  fill(line, row) {
    this.columns.forEach((column, at) => {
      const cell = line.cells[at];
      const text = String(column.text(row) ?? "");
      if (line.drawn[at] === text) return;
      line.drawn[at] = text;
      if (column.node) cell.replaceChildren(column.node(row));
      else setText(cell, text);
      cell.classList.toggle("blank", text === "");
      cell.classList.toggle("zero", NOTHING.has(text));
    });
  }
}
