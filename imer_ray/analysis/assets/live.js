// Keeps a watched page up to date: asks whether there is another version of it, puts in what is new, and leaves alone
// what did not change and what the page's other scripts have filled in: charts, tables, forms.

(() => {
  const SECONDS = 1.5;
  const KEPT = ".chart, [data-kept]"; // charts come and go; of the others the page's scripts know each
  const main = document.querySelector("main");
  const served = new Map([...main.children].map((part) => [part, part.outerHTML])); // as they came, before any script
  const skeleton = (root) => [...root.querySelectorAll("[data-kept]")].map((place) => place.outerHTML).join("\n");
  const frame = skeleton(main);
  const sign = element("p", "live", "live");
  sign.setAttribute("role", "status");
  document.body.append(sign);
  let pause = SECONDS;

  function tell(isReached) {
    const { is_running, has_run } = report.live;
    const state = is_running ? "live" : has_run ? "the search has ended" : "no search runs now";
    const text = isReached || !is_running ? state : "no longer live: what watches the study has ended";
    if (sign.textContent !== text) sign.textContent = text; // a screen reader says it again otherwise
    sign.classList.toggle("over", !isReached || !is_running);
  }

  // The parts of the new page, in its order: one that did not change is left, another takes over what scripts filled.
  function place(body) {
    const fresh = document.createElement("template");
    fresh.innerHTML = body;
    if (skeleton(fresh.content) !== frame) return false;
    const focused = document.activeElement, left = [...served].map(([part, html]) => ({ part, html }));
    let after = null;
    for (const part of [...fresh.content.children]) {
      const html = part.outerHTML, same = left.findIndex((one) => one.html === html);
      let stays = part;
      if (same >= 0) [{ part: stays }] = left.splice(same, 1);
      else {
        for (const empty of part.querySelectorAll(KEPT)) {
          const filled = document.getElementById(empty.id);
          if (!filled) continue;
          filled.style.minHeight = empty.style.minHeight;
          empty.replaceWith(filled);
        }
        served.set(part, html);
      }
      const next = after ? after.nextElementSibling : main.firstElementChild;
      if (stays !== next) main.insertBefore(stays, next);
      after = stays;
    }
    for (const { part } of left) {
      part.remove();
      served.delete(part);
    }
    if (document.activeElement !== focused && main.contains(focused)) focused.focus({ preventScroll: true });
    return true;
  }

  function take(changes) {
    if (!place(changes.body)) { // other forms; the address keeps what was chosen
      address.write();
      return location.reload();
    }
    document.title = changes.title;
    const hasRun = report.live.has_run || report.live.is_running;
    for (const name of Object.keys(report)) delete report[name];
    Object.assign(report, changes.report, { live: { ...changes.live, has_run: hasRun } });
    document.dispatchEvent(new Event("report"));
  }

  async function ask() {
    let isReached = true;
    try {
      const answer = await fetch("changes", { headers: { "If-None-Match": report.live.tag }, cache: "no-store" });
      const changes = answer.status === 200 ? await answer.json() : null;
      pause = SECONDS;
      if (changes) take({ ...changes, live: { ...changes.live, tag: answer.headers.get("ETag") } });
    } catch {
      isReached = false;
      pause = Math.min(30, 2 * pause);
    }
    tell(isReached);
    const isOver = report.live.has_run && !report.live.is_running; // and so is its server
    if (!isOver) setTimeout(ask, 1000 * pause);
  }

  tell(true);
  setTimeout(ask, 1000 * pause);
})();
