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

  function draw(chart) {
    const place = document.getElementById(chart.id);
    const data = painted(chart.data).map((trace) => trace.meta !== "points" ? trace
      : { ...trace, text: trace.customdata.map((id) => report.points[id].hover), hovertemplate: "%{text}<extra></extra>" });
    const layout = { ...painted(chart.layout), template: house(), height: narrow.matches ? chart.narrow : chart.height };
    return Plotly.react(place, data, layout, { responsive: true, displayModeBar: false });
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
  document.addEventListener("pointed", (event) => light(event.detail));
  if (report.shown) show(report.shown);
  for (const query of [dark, narrow]) query.addEventListener("change", () => report.charts.forEach(draw));
})();
