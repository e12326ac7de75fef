// What is drawn over the chart of quality against speed: rings around points, and the lines of budgets.

const marks = {
  pinned: [], // ids, in the order of their numbers
  picked: null, // the id within the budgets
  walked: null, // the id where the keyboard is
  limits: [], // [axis "x" or "y", value] of budgets
  kept: null, // a set of ids within the budgets; null where all are
  place: document.getElementById("pareto"),
  at: new Map(), // id -> [x, y], as the chart's traces have them

  read() {
    const traces = report.charts.filter((chart) => chart.id === "pareto").flatMap((chart) => chart.data);
    const points = traces.filter((trace) => trace.meta === "points");
    marks.at = new Map(points.flatMap((trace) => trace.customdata.map((id, i) => [id, [trace.x[i], trace.y[i]]])));
  },

  // Four Bezier curves: a "circle" in pixels takes no negative ones on a logarithmic axis.
  ring(id, radius, line) {
    const [xanchor, yanchor] = marks.at.get(id), r = radius, k = 0.5523 * radius;
    const path = `M${r},0 C${r},${k} ${k},${r} 0,${r} C${-k},${r} ${-r},${k} ${-r},0 C${-r},${-k} ${-k},${-r} 0,${-r} C${k},${-r} ${r},${-k} ${r},0 Z`;
    return { type: "path", path, xsizemode: "pixel", ysizemode: "pixel", xanchor, yanchor, line };
  },

  // A number at the upper left of a point: the label of a shape without a line. An annotation would have Plotly draw all
  // points anew.
  number(id, text) {
    const [xanchor, yanchor] = marks.at.get(id);
    const label = { text: `<b>${text}</b>`, textposition: "middle center", padding: 0, font: { size: 12, color: "var(--ink)" } };
    return { type: "path", path: "M-21,5 L-9,5 L-9,17 L-21,17 Z", xsizemode: "pixel", ysizemode: "pixel", xanchor, yanchor, line: { width: 0 }, label };
  },

  // Once a frame, however often it is asked for.
  draw() {
    cancelAnimationFrame(marks.drawing);
    marks.drawing = requestAnimationFrame(marks.now);
  },

  now() {
    const shapes = marks.limits.map(([axis, value]) => (axis === "x"
      ? { type: "line", yref: "paper", x0: value, x1: value, y0: 0, y1: 1, line: { color: "var(--series3)", width: 1.5, dash: "dot" } }
      : { type: "line", xref: "paper", y0: value, y1: value, x0: 0, x1: 1, line: { color: "var(--series3)", width: 1.5, dash: "dot" } }));
    if (marks.picked) shapes.push(marks.ring(marks.picked, 13, { color: "var(--series3)", width: 2.5 }));
    shapes.push(...marks.pinned.map((id) => marks.ring(id, 10, { color: "var(--ink)", width: 2 })));
    if (marks.walked) shapes.push(marks.ring(marks.walked, 16, { color: "var(--ink)", width: 2, dash: "dash" }));
    shapes.push(...marks.pinned.map((id, i) => marks.number(id, i + 1)));
    Plotly.relayout(marks.place, { shapes: painted(shapes) });
  },

  // Fades the points outside the budgets, once the sliders rest: it draws the chart anew.
  fade() {
    if (!marks.kept && !marks.faded) return;
    clearTimeout(marks.fading);
    marks.fading = setTimeout(() => {
      const traces = [...marks.place.data.keys()].filter((i) => marks.place.data[i].meta === "points");
      const within = (id, i) => (marks.kept.has(id) ? [i] : []);
      const selectedpoints = traces.map((i) => (marks.kept ? marks.place.data[i].customdata.flatMap(within) : null));
      marks.faded = Boolean(marks.kept);
      Plotly.restyle(marks.place, { selectedpoints }, traces);
    }, 80);
  },
};

marks.read();
document.addEventListener("report", marks.read);
