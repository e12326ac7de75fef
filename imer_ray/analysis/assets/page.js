// Draws the charts with the colours of light or dark, and shows the point that is pointed at.
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)");
  const narrow = matchMedia("(max-width: 560px)");

  function house() {
    const axis = { gridcolor: "var(--grid)", linecolor: "var(--faint)", zeroline: false, ticks: "outside", ticklen: 4, tickcolor: "var(--faint)", title: { standoff: 10 } };
    return painted({ layout: {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: getComputedStyle(document.body).fontFamily, size: narrow.matches ? 11 : 13, color: "var(--ink)" },
      margin: { l: 12, r: 12, t: 16, b: 12 }, xaxis: axis, yaxis: axis, hovermode: "closest",
      dragmode: touch.matches ? false : "zoom",  // a finger scrolls the page
      hoverlabel: { align: "left", bgcolor: "var(--paper)", bordercolor: "var(--faint)", font: { color: "var(--ink)", size: 12 } },
    } });
  }

  const escaped = (text) => String(text).replace(/[&<>"]/g, (character) => `&#${character.charCodeAt(0)};`);

  // A point in words beside its mark: which it is, what was measured, and its searched settings.
  function hover(point) {
    const bold = (pairs, between) => pairs.map(([name, value]) => `${escaped(name)}${between}<b>${escaped(value)}</b>`);
    const measured = bold(point.measured, " "), rows = [];
    for (let i = 0; i < measured.length; i += 3) rows.push(measured.slice(i, i + 3).join(" · "));
    const head = `<b>${escaped(point.title)}</b> · ${escaped(point.place)}` + (point.pick ? ` · <b>${escaped(point.pick)}</b>` : "");
    return [head, ...rows, "", ...bold(point.settings, " = ")].join("<br>");
  }

  // What a trace leaves to be filled in: of points what is said beside them, of lines where they run.
  function filled(trace, lines) {
    let ids = trace.customdata;
    if (trace.meta === "lines") {
      const y = ids.flatMap((id) => [...lines[id], null]), width = y.length / ids.length;
      ids = ids.flatMap((id) => Array(width).fill(id));
      trace = { ...trace, x: y.map((_, i) => i % width), y, customdata: ids };
    } else if (trace.meta !== "points") return trace;
    return { ...trace, text: ids.map((id) => hover(report.points[id])), hovertemplate: "%{text}<extra></extra>" };
  }

  function draw(chart) {
    const place = document.getElementById(chart.id);
    const data = painted(chart.data).map((trace) => filled(trace, chart.lines));
    const layout = { ...painted(chart.layout), template: house(), uirevision: "kept", height: narrow.matches ? chart.narrow : chart.height };
    return Plotly.react(place, data, layout, { responsive: true, displayModeBar: false });
  }

  // The line of a point through the parallel coordinates, also of one that is not drawn there. It lies over the chart:
  // to change one of the chart's own lines, Plotly draws all of them again.
  let lit = null;
  function light(id) {
    lit = id;
    const chart = report.charts.find((one) => one.id === "parallel"), place = chart && document.getElementById(chart.id);
    if (!drawn.has(place)) return;
    const { xaxis, yaxis, margin } = chart.layout;
    const box = [xaxis.range[0], -yaxis.range[1], xaxis.range[1] - xaxis.range[0], yaxis.range[1] - yaxis.range[0]];
    const points = chart.lines[id].map((y, x) => `${x},${-y}`);
    place.querySelector(".lit")?.remove();
    place.insertAdjacentHTML("beforeend", `<svg class="lit" style="inset:${margin.t}px ${margin.l}px" viewBox="${box.join(" ")}"
      preserveAspectRatio="none"><polyline points="${points.join(" ")}"/></svg>`);
  }

  function point(event) {
    const id = event.points[0].customdata;
    if (!(id in report.points)) return;
    show(id);
    light(id);
  }

  const drawn = new Map(), heard = new WeakSet(), reached = new WeakSet();

  // Plotly takes a while for a chart: but for the first, each waits until it is nearly in the window, or until the browser
  // has nothing else to do.
  const nearing = new IntersectionObserver((seen) => {
    for (const { target } of seen.filter((one) => one.isIntersecting)) {
      nearing.unobserve(target);
      reach(report.charts.find((chart) => chart.id === target.id));
    }
  }, { rootMargin: "50% 0%" });

  const placeOf = (chart) => document.getElementById(chart.id);
  const waits = (chart) => placeOf(chart) !== marks.place && !reached.has(placeOf(chart));

  function reach(chart) {
    reached.add(placeOf(chart));
    drawIfChanged(chart);
  }

  function drawIfChanged(chart) {
    const place = placeOf(chart), text = JSON.stringify(chart);
    if (drawn.get(place) === text) return;
    drawn.set(place, text);
    draw(chart);
    if (lit in (chart.lines ?? {})) light(lit);
    if (heard.has(place) || !chart.data.some((trace) => trace.meta)) return;
    heard.add(place);
    place.on("plotly_hover", point);
    place.on("plotly_click", point);
  }

  // The charts that are new or have changed, each in its time.
  function drawChanged() {
    report.charts.filter(waits).forEach((chart) => nearing.observe(placeOf(chart)));
    report.charts.filter((chart) => !waits(chart)).forEach(drawIfChanged);
    whenIdle(drawRest);
  }

  const whenIdle = window.requestIdleCallback ?? ((act) => setTimeout(act, 200)); // Safari has none
  function drawRest() {
    const left = report.charts.find(waits);
    if (!left) return;
    reach(left);
    whenIdle(drawRest);
  }
  // Registered before what gives the charts their size on paper.
  addEventListener("beforeprint", () => report.charts.filter(waits).forEach(reach));

  drawChanged();
  document.addEventListener("pointed", (event) => light(event.detail));
  if (report.shown) show(report.shown);
  document.addEventListener("report", () => {
    drawChanged();
    if (report.shown) show(report.shown);
  });
  for (const query of [dark, narrow]) {
    query.addEventListener("change", () => report.charts.filter((chart) => drawn.has(placeOf(chart))).forEach(draw));
  }
})();
