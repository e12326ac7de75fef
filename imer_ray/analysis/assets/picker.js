// The pick within budgets: which it is, by which rule, and what its neighbours cost.

(() => {
  const form = document.getElementById("picker");
  if (!form) return;
  const { study, quality, speed, also, objectives, budgets } = report.picking; // of a page that is watched as well: it has one study
  const value = (column, row) => (Array.isArray(report.results[column]) ? report.results[column][row] : report.results[column]);
  const idOf = (row) => `${study}/${row}`;
  const rowOf = (id) => Number(id.slice(id.lastIndexOf("/") + 1));
  const rowsNow = () => [...marks.at.keys()].map(rowOf).sort((a, b) => a - b);
  let all = rowsNow();
  const minimised = (row) => objectives.map((column) => value(column, row));
  const ruleSaid = {
    quality: (among) => `the best ${quality.name} of ${among}`,
    speed: (among) => `the best ${speed.name} of ${among}`,
    knee: (among) => `the best compromise, where the front of ${among} bends`,
    ...Object.fromEntries(also.map((axis, k) => [ruleOf(k), (among) => `the best ${axis.name} of ${among}`])),
  };

  function ruleOf(k) { return objectives[k + 2].slice("objective.".length); }

  // As imer_ray.results.pareto.picks: the best of each objective on the front, and its knee.
  function picks(rows) {
    const before = (a, b) => a.at.findIndex((v, k) => v !== b.at[k]);
    const compare = (a, b) => { const k = before(a, b); return k < 0 ? a.row - b.row : a.at[k] - b.at[k]; };
    const front = []; // whoever dominates a point stands before it, and with two objectives it is the one just before
    for (const one of rows.map((row) => ({ row, at: minimised(row) })).sort(compare)) {
      const known = objectives.length === 2 ? front.slice(-1) : front;
      if (!known.some((other) => other.at.every((v, k) => v <= one.at[k]) && before(other, one) >= 0)) front.push(one);
    }
    if (!front.length) return {};
    const least = (k) => front.reduce((a, b) => (b.at[k] < a.at[k] ? b : a)).row;
    const best = Object.fromEntries(also.map((_, k) => [ruleOf(k), least(k + 2)]));
    return { quality: front[0].row, speed: least(1), knee: knee(front), ...best };
  }

  function knee(front) {
    const scaled = objectives.map((_, k) => {
      const column = front.map((one) => one.at[k]);
      const low = Math.min(...column), span = Math.max(...column) - low;
      return column.map((v) => (v - low) / (span || 1));
    });
    const below = front.map((_, i) => Math.round(scaled.reduce((sum, of) => sum + of[i], 0) * 1e12));
    const far = front.map((_, i) => Math.sqrt(scaled.reduce((sum, of) => sum + of[i] ** 2, 0)));
    const best = [...front.keys()].reduce((a, b) => (below[b] - below[a] || far[b] - far[a]) < 0 ? b : a);
    return front[best].row;
  }

  // To three digits, on the side where the value itself is within the bound.
  function outward(number, least) {
    const near = Number(number.toPrecision(3));
    if (least ? near <= number : near >= number) return near;
    const step = 10 ** (Math.floor(Math.log10(Math.abs(near))) - 2);
    return Number((near + (least ? -step : step)).toPrecision(3));
  }

  const rows = [...form.querySelectorAll(".budget")].map((place, i) => {
    const [slider, field] = ["range", "number"].map((type) => place.querySelector(`input[type=${type}]`));
    const choice = place.querySelector("select"), side = place.querySelector(".side");
    const row = { bound: null };

    row.measure = (j) => {
      row.axis = budgets[i][j];
      row.least = row.axis.higher_is_better;
      const seen = all.map((at) => value(row.axis.column, at)).filter((v) => v !== null);
      row.steps = [...new Set(seen.map((v) => outward(v, row.least)))].sort((a, b) => a - b);
      [slider.min, slider.max, slider.step] = [0, row.steps.length - 1, 1];
      side.textContent = row.least ? "at least" : "at most";
      if (choice) choice.value = j;
      row.set(null);
    };
    row.set = (bound, from) => {
      row.bound = Number.isFinite(bound) ? bound : null;
      const any = row.least ? 0 : row.steps.length - 1;
      if (from !== slider) slider.value = row.bound === null ? any
        : row.least ? Math.max(0, row.steps.findLastIndex((v) => v <= row.bound)) : row.steps.filter((v) => v < row.bound).length;
      if (from !== field) field.value = row.bound ?? "";
      slider.setAttribute("aria-valuetext", row.bound === null ? "any" : row.said());
    };
    row.keeps = (at) => {
      const v = value(row.axis.column, at);
      return row.bound === null || (v !== null && (row.least ? v >= row.bound : v <= row.bound));
    };
    row.said = () => {
      const name = row.axis.unit === " ms" ? row.axis.label.replace(/ \(ms\)$/, "") : row.axis.name;
      return `${name} ${side.textContent} ${row.bound.toLocaleString("en", { maximumSignificantDigits: 12 })}${row.axis.unit}`;
    };
    slider.addEventListener("input", () => {
      const step = Number(slider.value);
      row.set(step === (row.least ? 0 : row.steps.length - 1) ? null : row.steps[step], slider);
      pick();
    });
    field.addEventListener("input", () => { row.set(field.value === "" ? null : field.valueAsNumber, field); pick(); });
    choice?.addEventListener("change", () => { row.measure(Number(choice.value)); pick(); });
    return row;
  });

  const figure = (at, axis) => report.points[idOf(at)].measured.find(([name]) => name === axis.name)[1];
  const broken = (at) => rows.filter((row) => !row.keeps(at)).map((row) => row.said());

  // The nearest point with more of one objective: of those, the best in the other.
  function neighbour(at, k) {
    const better = all.filter((other) => minimised(other)[k] < minimised(at)[k]);
    const far = better.reduce((a, b) => (a === null || minimised(b)[1 - k] < minimised(a)[1 - k]
      || (minimised(b)[1 - k] === minimised(a)[1 - k] && minimised(b)[k] < minimised(a)[k]) ? b : a), null);
    const made = element("p", undefined, "why");
    const [gain, cost] = k === 0 ? [quality, speed] : [speed, quality];
    if (far === null) {
      made.textContent = `No point has a better ${gain.name}.`;
      return made;
    }
    const outside = broken(far);
    made.append(`Next better ${gain.name}: `, button(report.points[idOf(far)].title, () => show(idOf(far)), "link"),
      ` with ${figure(far, gain)}, for ${cost.name} ${figure(far, cost)} instead of ${figure(at, cost)}`
      + also.map((axis) => `, ${axis.name} ${figure(far, axis)} instead of ${figure(at, axis)}`).join("")
      + (outside.length ? `; outside the budget of ${outside.join(", ")}.` : "."));
    return made;
  }

  const chosen = () => form.elements.rule.value;
  function ruleNow() {
    if (chosen() !== "auto") return chosen();
    const qualityBound = rows.some((row) => row.axis.column === quality.column && row.bound !== null);
    return qualityBound ? "speed" : rows.some((row) => row.bound !== null) ? "quality" : "knee";
  }

  let picked = null, why = "";
  function showPick() {
    if (picked === null) return;
    const said = element("p", why, "why");
    show(idOf(picked), [said, neighbour(picked, 0), neighbour(picked, 1)]);
  }

  function pick() {
    const bounds = rows.filter((row) => row.bound !== null);
    const within = all.filter((at) => rows.every((row) => row.keeps(at)));
    const rule = ruleNow();
    picked = picks(within)[rule] ?? null;
    const said = document.getElementById("picked");
    const limits = bounds.map((row) => row.said()).join(" and ");
    const among = bounds.length ? `the ${within.length} of ${all.length} points with ${limits}` : `all ${all.length} points`;
    if (picked === null) {
      const alone = bounds.map((row) => `${row.said()} (${all.filter(row.keeps).length})`).join(", ");
      said.textContent = `No point keeps these budgets together; alone they are kept by so many: ${alone}.`;
    } else {
      why = `Picked as ${ruleSaid[rule](among)}.`;
      const { title } = report.points[idOf(picked)];
      said.textContent = `Pick: ${title}, ${quality.name} ${figure(picked, quality)}, ${speed.name} ${figure(picked, speed)}: ${ruleSaid[rule](among)}.`;
    }
    said.dataset.rule = rule;
    said.dataset.name = picked === null ? "" : report.points[idOf(picked)].name;
    document.getElementById("pin-pick").disabled = picked === null;
    showPick();
    marks.picked = picked === null ? null : idOf(picked);
    marks.kept = bounds.length ? new Set(within.map(idOf)) : null;
    marks.limits = bounds.flatMap((row) => (row.axis.column === speed.column ? [["x", row.bound]] : row.axis.column === quality.column ? [["y", row.bound]] : []));
    marks.draw();
    marks.fade();
    for (const column of new Set(budgets.flat().map((axis) => axis.column))) {
      address.set(column, bounds.find((row) => row.axis.column === column)?.bound ?? null);
    }
    address.set("rule", chosen() === "auto" ? null : chosen());
    document.dispatchEvent(new Event("picked"));
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("change", (event) => { if (event.target.name === "rule") pick(); });
  form.addEventListener("reset", (event) => {
    event.preventDefault();
    form.elements.rule.value = "auto";
    for (const row of rows) row.set(null);
    pick();
  });
  document.getElementById("pin-pick").addEventListener("click", () => document.dispatchEvent(new CustomEvent("pin", { detail: idOf(picked) })));
  marks.place.addEventListener("mouseleave", showPick);
  marks.place.addEventListener("blur", showPick);

  rows.forEach((row, i) => {
    const asked = Math.max(0, budgets[i].findIndex((axis) => address.get(axis.column)));
    row.measure(asked);
    row.set(parseFloat(address.get(budgets[i][asked].column)));
  });
  document.addEventListener("report", () => { // budgets stay what they are, among the points that there are now
    all = rowsNow();
    rows.forEach((row, i) => {
      const { bound } = row;
      row.measure(budgets[i].indexOf(row.axis));
      row.set(bound);
    });
    pick();
  });
  if (address.get("rule") in ruleSaid) form.elements.rule.value = address.get("rule");
  pick();
})();
