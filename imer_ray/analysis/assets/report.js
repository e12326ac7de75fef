// What the page's scripts share: what they are given, the chart's colours, and how an element is made.

const report = given(document.getElementById("report"));

// Replace every "var(--name)" in a figure by the colour that it stands for now.
function painted(value) {
  if (typeof value === "string") {
    return value.startsWith("var(--") ? getComputedStyle(document.documentElement).getPropertyValue(value.slice(4, -1)).trim() : value;
  }
  if (Array.isArray(value)) return value.map(painted);
  if (value && typeof value === "object") return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, painted(v)]));
  return value;
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function button(text, act, className) {
  const made = element("button", text, className);
  made.type = "button";
  made.addEventListener("click", act);
  return made;
}

// Tells what happened to who does not see it.
function say(text) {
  const place = document.getElementById("said");
  if (place) place.textContent = text;
}
