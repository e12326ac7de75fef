// Draws the charts with the colours of light or dark, and shows the point that is pointed at.
(() => {
  const report = JSON.parse(document.getElementById("report").textContent);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const touch = matchMedia("(pointer: coarse)");
  const narrow = matchMedia("(max-width: 560px)");

  // Replace every "var(--name)" in a figure by the colour that it stands for now.
  function painted(value) {
    if (typeof value === "string") {
      return value.startsWith("var(--") ? getComputedStyle(document.documentElement).getPropertyValue(value.slice(4, -1)).trim() : value;
    }
    if (Array.isArray(value)) return value.map(painted);
    if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, painted(v)]));
    return value;
  }

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

  function draw(chart) {
    const place = document.getElementById(chart.id);
    const data = painted(chart.data).map((trace) => trace.meta !== "points" ? trace
      : { ...trace, text: trace.customdata.map((id) => report.points[id].hover), hovertemplate: "%{text}<extra></extra>" });
    const layout = { ...painted(chart.layout), template: house(), height: narrow.matches ? chart.narrow : chart.height };
    return Plotly.react(place, data, layout, { responsive: true, displayModeBar: false });
  }

  function element(name, text, className) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function list(pairs, mono) {
    const made = element("dl");
    for (const [name, value] of pairs) made.append(element("dt", name, mono), element("dd", value, mono));
    return made;
  }

  function show(id) {
    const panel = document.getElementById("point");
    const point = report.points[id];
    if (!panel || !point) return;
    const title = element("h3", point.title + " ");
    if (point.pick) title.append(element("span", point.pick, "chip " + point.pick));
    panel.replaceChildren(title, element("p", point.place, "muted"), list(point.measured), list(point.settings, "mono"));
    if (point.command) panel.append(element("p", "Hand it over for final training:", "note"), element("code", point.command, "command"));
  }

  // The line of a point through the parallel coordinates, cut out of the trace that holds many.
  function light(id) {
    const place = document.getElementById("parallel");
    if (!place || !place.data) return;
    const last = place.data.length - 1;
    const of = place.data.slice(0, last).find((trace) => trace.customdata.includes(id));
    const start = of ? of.customdata.indexOf(id) : 0;
    Plotly.restyle(place, { y: [of ? of.y.slice(start, start + place.data[last].x.length) : []] }, [last]);
  }

  function point(event) {
    const id = event.points[0].customdata;
    if (!(id in report.points)) return;
    show(id);
    light(id);
  }

  for (const chart of report.charts) {
    draw(chart);
    if (chart.data.some((trace) => trace.meta === "points")) {
      const place = document.getElementById(chart.id);
      place.on("plotly_hover", point);
      place.on("plotly_click", point);
    }
  }
  if (report.shown) show(report.shown);
  for (const query of [dark, narrow]) query.addEventListener("change", () => report.charts.forEach(draw));
})();
