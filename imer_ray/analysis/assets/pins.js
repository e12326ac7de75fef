// Points that stay: a click or Enter pins one below the chart, and the arrow keys walk along the front.

(() => {
  const { place } = marks;
  if (!place) return;
  const pins = document.getElementById("pins");
  const several = Object.keys(report.commands).length > 1;
  const word = (id) => (several ? studyOf(id) + "/" : "") + report.points[id].name; // in the address
  const alongX = () => [...report.front].sort((a, b) => marks.at.get(a)[0] - marks.at.get(b)[0]);

  function lay() {
    const values = {};
    for (const id of marks.pinned) {
      for (const [name, value] of report.points[id].settings) (values[name] ??= []).push(value);
    }
    const differing = new Set(Object.keys(values).filter((name) => new Set(values[name]).size > 1 || values[name].length < marks.pinned.length));
    pins.replaceChildren(...marks.pinned.map((id, i) => {
      const made = element("article", undefined, "pin");
      made.dataset.id = id;
      made.setAttribute("aria-label", `Pinned ${i + 1}: ${report.points[id].title}`);
      made.append(element("span", String(i + 1), "number"), card(id, [], differing), button("Unpin", () => unpin(id, true)));
      return made;
    }));
    marks.draw();
    address.set("pins", marks.pinned.map(word).join(","));
    document.dispatchEvent(new Event("pins"));
  }

  function pin(id) {
    if (!report.points[id] || marks.pinned.includes(id)) return;
    marks.pinned.push(id);
    lay();
    say(`${report.points[id].title} pinned, ${marks.pinned.length} in all`);
  }

  // `move`: the focus was in what goes away, and moves to the next pinned point or to the chart.
  function unpin(id, move) {
    const i = marks.pinned.indexOf(id);
    if (i < 0) return;
    marks.pinned.splice(i, 1);
    lay();
    if (move) (pins.children[Math.min(i, pins.children.length - 1)]?.querySelector("button:last-child") ?? place).focus();
    say(`${report.points[id].title} unpinned, ${marks.pinned.length} left`);
  }

  const toggle = (id) => (marks.pinned.includes(id) ? unpin(id) : pin(id));

  function walk(id) {
    marks.walked = id;
    marks.draw();
    if (!id) return;
    show(id);
    const { title, pick, measured } = report.points[id];
    say([title, pick, ...measured.slice(0, 2).map((pair) => pair.join(" "))].filter(Boolean).join(", "));
    document.dispatchEvent(new CustomEvent("pointed", { detail: id }));
  }

  const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };

  place.tabIndex = 0;
  place.setAttribute("role", "application");
  place.addEventListener("focus", () => {
    if (place.matches(":focus-visible")) walk(report.front.includes(marks.picked) ? marks.picked : alongX()[0]);
  });
  place.addEventListener("blur", () => walk(null));
  place.addEventListener("keydown", (event) => {
    if (event.key in steps) {
      const front = alongX(), i = marks.walked === null ? 0 : front.indexOf(marks.walked) + steps[event.key];
      walk(front[Math.max(0, Math.min(front.length - 1, i))]);
    } else if ((event.key === "Enter" || event.key === " ") && marks.walked) {
      toggle(marks.walked);
    } else return;
    event.preventDefault();
  });
  // The pinned point that one is at goes, or else the last.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !marks.pinned.length) return;
    const own = document.activeElement.closest(".pin")?.dataset.id;
    unpin(own ?? (marks.pinned.includes(marks.walked) ? marks.walked : marks.pinned.at(-1)), own !== undefined);
  });
  place.on("plotly_click", (event) => {
    if (marks.at.has(event.points[0].customdata)) toggle(event.points[0].customdata);
  });
  document.addEventListener("pin", (event) => pin(event.detail));
  // After the chart was drawn anew in other colours or sizes.
  for (const query of ["(prefers-color-scheme: dark)", "(max-width: 560px)"]) {
    matchMedia(query).addEventListener("change", () => { marks.draw(); marks.fade(); });
  }

  // What the address says is pinned, of the points that there are now: their ids may have changed.
  function restore() {
    place.setAttribute("aria-label", `Chart of quality against speed, ${marks.at.size} points, ${report.front.length} on the Pareto front. Arrow keys walk along the front, Enter pins a point, Escape unpins.`);
    const ids = new Map(Object.keys(report.points).map((id) => [word(id), id]));
    const asked = (address.get("pins") ?? "").split(",").map((name) => ids.get(name)).filter(Boolean);
    const before = marks.pinned;
    marks.pinned = [...new Set(asked)];
    if (marks.walked && !marks.at.has(marks.walked)) marks.walked = null;
    if (marks.pinned.length || before.length) lay();
  }

  document.addEventListener("report", restore);
  restore();
})();
