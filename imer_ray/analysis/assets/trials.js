// The table of all trials: sorted by a click on a column's head, filtered by words and by state, so many rows at a time.

(() => {
  const place = document.getElementById("trials");
  if (!place) return;
  const ROWS = 50;
  const [words, state] = [place.querySelector("input"), place.querySelector("select")];
  const [table, found, pages] = ["table", ".found", ".pages"].map((of) => place.querySelector(of));
  const order = { column: 0, down: false };
  let page = 0, kept = [], texts = new Map(), ids = new Map(); // ids of the points, by their names

  const significant = (value, digits) => {
    const power = value ? Math.floor(Math.log10(Math.abs(value))) : 0;
    if (power >= 6) return significant(value / 1e6, digits) + " M";
    return power < -4 ? value.toExponential(digits - 1) : value.toFixed(Math.max(0, digits - 1 - power));
  };
  const duration = (seconds) => {
    const whole = Math.round(seconds), [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
    return h ? `${h} h ${String(m).padStart(2, "0")} min` : m ? `${m} min ${String(s).padStart(2, "0")} s` : `${whole} s`;
  };
  const shown = {
    trial: (value) => value,
    text: (value) => value,
    remark: (value) => value,
    number: (value, unit) => significant(value, 3) + unit,
    count: (value) => value.toFixed(0),
    setting: (value) => (typeof value === "number" ? String(Number(value.toPrecision(3))) : String(value)),
    seconds: duration,
  };
  const textOf = (value, { kind, unit }) => (value !== null ? shown[kind](value, unit) : kind === "remark" ? "" : "–");

  // What the filter's words are looked for in.
  function text(row) {
    if (!texts.has(row)) texts.set(row, row.map((value, i) => textOf(value, report.trials.columns[i])).join("\n").toLowerCase());
    return texts.get(row);
  }

  // Numbers by size, "9" before "10.1" before "10.2", other words by letters.
  const compared = new Intl.Collator("en", { numeric: true });
  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return compared.compare(String(a), String(b));
  }

  function choose() {
    const asked = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const at = report.trials.columns.findIndex(({ name }) => name === "state");
    const sign = order.down ? -1 : 1;
    const value = (row) => row[order.column];
    const left = report.trials.rows.filter((row) => (!state.value || row[at] === state.value) && asked.every((word) => text(row).includes(word)));
    const known = left.filter((row) => value(row) !== null).sort((a, b) => sign * compare(value(a), value(b)));
    kept = [...known, ...left.filter((row) => value(row) === null)];
  }

  function pinning(name) {
    const made = button(name, () => document.dispatchEvent(new CustomEvent("pin", { detail: ids.get(name) })), "link");
    made.setAttribute("aria-label", `Pin trial ${name}`);
    made.title = "Pin this point below the chart";
    return made;
  }

  function lay() {
    page = Math.max(0, Math.min(page, Math.ceil(kept.length / ROWS) - 1));
    const { columns, rows } = report.trials, first = page * ROWS, some = kept.slice(first, first + ROWS);
    table.tBodies[0].replaceChildren(...some.map((row) => {
      const made = element("tr");
      made.append(...row.map((value, i) => element("td", textOf(value, columns[i]), columns[i].kind)));
      if (ids.has(row[0])) made.cells[0].replaceChildren(pinning(row[0]));
      return made;
    }));
    [...table.tHead.rows[0].cells].forEach((cell, i) => {
      if (i === order.column) cell.setAttribute("aria-sort", order.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    });
    const range = some.length ? `${first + 1}–${first + some.length} of ${kept.length}` : "none";
    found.textContent = range + (kept.length < rows.length ? ` (of ${rows.length} in all)` : "");
    const [before, after] = pages.children;
    [before.disabled, after.disabled] = [page === 0, first + ROWS >= kept.length];
    pages.hidden = kept.length <= ROWS;
  }

  function again() {
    choose();
    page = 0;
    lay();
    address.set("words", words.value);
    address.set("state", state.value);
    address.set("sort", order.column || order.down ? (order.down ? "-" : "") + report.trials.columns[order.column].name : null);
  }

  function sort(column) {
    order.down = order.column === column && !order.down;
    order.column = column;
    again();
  }

  // The table's head, and the states to choose from; a column and a state that were chosen stay so.
  function build() {
    const { columns, rows } = report.trials, names = [...table.tHead.rows[0]?.cells ?? []].map((cell) => cell.textContent);
    texts = new Map();
    ids = new Map(Object.entries(report.points).map(([id, { name }]) => [name, id]));
    if (columns.map(({ name }) => name).join("\n") !== names.join("\n")) {
      order.column = Math.max(0, columns.findIndex(({ name }) => name === names[order.column]));
      table.tHead.rows[0].replaceChildren(...columns.map(({ name, kind }, i) => {
        const cell = element("th", undefined, kind);
        cell.scope = "col";
        cell.append(button(name, () => sort(i)));
        return cell;
      }));
    }
    const at = columns.findIndex(({ name }) => name === "state"), chosen = state.value;
    const counts = new Map();
    for (const row of rows) counts.set(row[at], (counts.get(row[at]) ?? 0) + 1);
    state.replaceChildren(new Option("any state", ""), ...[...counts.keys()].sort().map((name) => new Option(`${name} (${counts.get(name)})`, name)));
    state.value = counts.has(chosen) ? chosen : "";
  }

  // What the address says, before anything was chosen here.
  function restore() {
    const sorted = address.get("sort") ?? "", name = sorted.replace(/^-/, "");
    words.value = address.get("words") ?? "";
    state.value = address.get("state") ?? "";
    if (state.selectedIndex < 0) state.value = "";
    order.column = Math.max(0, report.trials.columns.findIndex((column) => column.name === name));
    order.down = sorted.startsWith("-");
  }

  function fill() {
    choose();
    lay();
  }

  words.addEventListener("input", again);
  state.addEventListener("change", again);
  const turn = (by) => () => {
    page += by;
    lay();
    table.parentElement.scrollTop = 0;
  };
  pages.replaceChildren(button("Previous", turn(-1)), button("Next", turn(1)));
  document.addEventListener("report", () => { build(); fill(); });
  build();
  restore();
  fill();
})();
