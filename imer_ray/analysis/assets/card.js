// A point in words: what was measured of it, its settings, and the commands that hand it over.

const studyOf = (id) => id.slice(0, id.lastIndexOf("/"));

// [what it does, the command] of a point: first its export, then what comes next.
function commandsOf(id) {
  return report.commands[studyOf(id)].map(([said, before, after]) => [said, before + report.points[id].name + after]);
}

function list(pairs, mono, differing = new Set()) {
  const made = element("dl");
  for (const [name, value] of pairs) {
    const differs = differing.has(name) ? " differs" : "";
    made.append(element("dt", name, mono + differs), element("dd", value, mono + differs));
  }
  return made;
}

function copyable(command) {
  const made = element("div", undefined, "copyable");
  const code = element("code", command, "command");
  const copy = button("Copy", async () => {
    try {
      await navigator.clipboard.writeText(command);
      copy.textContent = "Copied";
    } catch {  // the browser forbids it, as on a page from another machine
      getSelection().selectAllChildren(code);
      copy.textContent = "Selected";
    }
    say(copy.textContent + ": " + command);
  }, "copy");
  copy.setAttribute("aria-label", "Copy: " + command);
  made.append(code, copy);
  return made;
}

// `differing` are the names of settings to set off; `said` are sentences that go before the figures.
function card(id, said = [], differing = new Set()) {
  const point = report.points[id];
  const made = document.createDocumentFragment();
  const title = element("h3", point.title + " ");
  if (point.pick) title.append(element("span", point.pick, "chip " + point.pick));
  const several = Object.keys(report.commands).length > 1;
  made.append(title, element("p", (several ? studyOf(id) + " · " : "") + point.place, "muted"), ...said);
  made.append(list(point.measured, ""), list(point.settings, "mono", differing));
  const [[first, exporting], ...others] = commandsOf(id);
  made.append(element("p", first + ":", "note"), copyable(exporting));
  const next = element("details");
  next.append(element("summary", "What comes next"));
  for (const [what, command] of others) next.append(element("p", what + ":", "note"), copyable(command));
  made.append(next);
  return made;
}

// In the panel beside the chart.
function show(id, said) {
  const panel = document.getElementById("point");
  if (panel && report.points[id]) panel.replaceChildren(card(id, said));
}
