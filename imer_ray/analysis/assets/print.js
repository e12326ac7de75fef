// On paper every chart is as wide as an upright page, whatever the window's width, and no higher than half of one.

(() => {
  const WIDTH = 630, HEIGHT = 460; // in pixels; the width is that between the margins of A4, and of a section
  const heights = new Map();
  addEventListener("beforeprint", () => report.charts.forEach(({ id }) => {
    const place = document.getElementById(id);
    heights.set(place, place.layout.height);
    Plotly.relayout(place, { width: WIDTH, height: Math.min(HEIGHT, place.layout.height) });
  }));
  addEventListener("afterprint", () => heights.forEach((height, place) => Plotly.relayout(place, { width: null, height, autosize: true })));
})();
