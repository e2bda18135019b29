// Brings the parts together: what a selection changes, links to runs, the theme, and loading again while runs go on.

function onSelection(keys) {
  select(keys);
  saveView();
  markSelection();
  const text = byId("filter-status");
  text.textContent = text.textContent.replace(/\d+ selected/, keys.length + " selected");
  drawCurves();
  drawDifferences();
}

function onChosen(key, go) {
  view.chosen = key;
  saveView();
  drawRun();
  if (!go) return;
  const title = byId("run-title");
  title.tabIndex = -1;
  title.focus();
  title.scrollIntoView({block: "start"});
}

function isDark() {
  const forced = document.documentElement.dataset.theme;
  return forced ? forced === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function startTheme() {
  const button = byId("theme");
  const tell = () => button.setAttribute("aria-pressed", String(isDark()));
  tell();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", tell);
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = isDark() ? "light" : "dark";
    tell();
    try {
      sessionStorage.setItem("dlassign-theme", document.documentElement.dataset.theme);
    } catch (error) {
      // The choice then holds until the page is closed.
    }
  });
}

// While runs go on the file is written again and again. The page loads itself again, but not under the reader's hands:
// it waits while a key was pressed or the pointer moved a moment ago, and while it is paused or not looked at.
function startLive() {
  const pause = byId("pause");
  if (!pause) return;
  const QUIET = 2000;
  const started = Date.now();
  let touched = 0;
  const tell = () => {
    pause.setAttribute("aria-pressed", String(view.paused));
    byId("live-text").textContent = view.paused ? "Live: paused" : "Live: loads itself again every " + page.every + " s";
  };
  for (const kind of ["pointermove", "keydown", "wheel", "touchstart"]) {
    window.addEventListener(kind, () => { touched = Date.now(); }, {passive: true});
  }
  pause.addEventListener("click", () => {
    view.paused = !view.paused;
    saveView();
    tell();
  });
  tell();
  setInterval(() => {
    const due = Date.now() - started >= 1000 * page.every && Date.now() - touched >= QUIET;
    if (!due || view.paused || document.hidden) return;
    rememberPlace();
    location.reload();
  }, 250);
}

const placeKey = storageKey + ":place";

function rememberPlace() {
  const boxes = [...document.querySelectorAll(".box")].map((box) => [box.scrollLeft, box.scrollTop]);
  const focused = document.activeElement;
  const row = focused?.closest?.("#run-table tr");
  const place = {x: scrollX, y: scrollY, boxes, id: focused?.id || null, row: row?.dataset.key || null,
    tag: focused?.tagName || null, rows: body.rows.length, caret: focused?.selectionStart ?? null};
  try {
    sessionStorage.setItem(placeKey, JSON.stringify(place));
  } catch (error) {
    // Without storage the page starts at its top.
  }
}

function restorePlace() {
  let place = null;
  try {
    place = JSON.parse(sessionStorage.getItem(placeKey));
    sessionStorage.removeItem(placeKey);
  } catch (error) {
    place = null;
  }
  if (!place) return;
  showUntil(place.rows - 1);
  const focused = place.row ? rows.get(place.row)?.querySelector(place.tag.toLowerCase()) : place.id ? byId(place.id) : null;
  focused?.focus({preventScroll: true});
  if (focused?.setSelectionRange && place.caret !== null) focused.setSelectionRange(place.caret, place.caret);
  [...document.querySelectorAll(".box")].forEach((box, i) => {
    [box.scrollLeft, box.scrollTop] = place.boxes[i] || [0, 0];
  });
  scrollTo(place.x, place.y);
}

function startLinks() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.run-link");
    if (!link) return;
    const key = link.getAttribute("href").replace("#run-", "");
    if (!runByKey.has(key)) return;
    event.preventDefault();
    onChosen(key, true);
  });
  byId("chosen").addEventListener("change", (event) => onChosen(event.target.value, false));
}

restoreView();
startTheme();
startTable(onSelection, onChosen);
startLinks();
document.querySelectorAll(".box").forEach(showEdges);
startCurves();
fillChosen();
drawDifferences();
drawRun();
startLive();
restorePlace();
