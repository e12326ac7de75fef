// The points that the budgets leave, as a CSV file with the columns of results.parquet.

(() => {
  const place = document.getElementById("download");
  if (!place) return;
  const columns = () => Object.entries(report.results);
  const { study } = report.picking;
  const rows = () => [...marks.at.keys()].map((id) => Number(id.slice(id.lastIndexOf("/") + 1)))
    .filter((row) => !marks.kept || marks.kept.has(`${study}/${row}`)).sort((a, b) => a - b);

  const cell = (value) => (value === null ? "" : /[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : String(value));
  const line = (cells) => cells.map(cell).join(",") + "\r\n";

  function count() {
    const { length } = rows();
    place.textContent = `Download ${length} point${length === 1 ? "" : "s"} as CSV`;
    place.disabled = !length;
  }

  place.addEventListener("click", () => {
    const lines = rows().map((row) => line(columns().map(([, values]) => (Array.isArray(values) ? values[row] : values))));
    const text = line(columns().map(([name]) => name)) + lines.join("");
    const link = element("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    link.download = study.replace(/[^\p{L}\p{N}_-]+/gu, "_") + "-points.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href));
    say(`${rows().length} points written to ${link.download}`);
  });

  document.addEventListener("picked", count);
  count();
})();
