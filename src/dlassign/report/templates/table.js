// The table of runs: order, filter, selection and keys. The rows are in the page already; those that match are put in
// order. A long table shows its first rows, and the others as they are scrolled to, so that a new order is there at once.

const ROWS_AT_ONCE = 100;
const body = document.querySelector("#run-table tbody");
const rows = new Map([...body.rows].map((row) => [row.dataset.key, row]));
const COLUMN_KEYS = ["name", "hash", "seed", "group", "status", "data", "model", "params", "val", "test", "val_loss",
  "test_loss", "steps", "planned", "seconds", "precision", "started"];
const CONDITION = /^([\w.]+)(>=|<=|!=|=|>|<)(.*)$/;
const wordsOf = new Map(runs.map((run) => [run.key, [run.name, run.folder, run.status, run.data, run.model, run.precision,
  run.started, run.reason, ...Object.keys(run.notes)].filter(Boolean).join(" ").toLowerCase()]));
const knownKeys = new Set(COLUMN_KEYS);
const table = {matching: [], most: ROWS_AT_ONCE, roving: null};
for (const flat of flatConfigs) {
  for (const key of flat.keys()) {
    const parts = key.split(".");
    for (let depth = 1; depth <= parts.length; depth += 1) knownKeys.add(parts.slice(0, depth).join("."));
  }
}

function parseQuery(text) {
  const words = [];
  const conditions = [];
  for (const token of text.match(/(?:"[^"]*"?|[^\s"])+/g) || []) {
    const found = CONDITION.exec(token.replaceAll('"', ""));
    if (found && !token.startsWith('"')) conditions.push({key: found[1], sign: found[2], wanted: found[3]});
    else words.push(token.replaceAll('"', "").toLowerCase());
  }
  return {words, conditions, unknown: conditions.map((c) => c.key).filter((key) => !knownKeys.has(key))};
}

function matches(run, query) {
  const text = wordsOf.get(run.key);
  return query.words.every((word) => text.includes(word)) && query.conditions.every((condition) => holds(run, condition));
}

function valuesAt(run, key) {
  const found = COLUMN_KEYS.includes(key) ? [run[key]] : [];
  let here = configOf(run);
  for (const part of key.split(".")) here = here !== null && typeof here === "object" ? here[part] : undefined;
  if (isObject(here)) here = here.name;
  if (here !== undefined) found.push(here);
  return found;
}

function holds(run, {key, sign, wanted}) {
  const known = valuesAt(run, key).filter((value) => value !== undefined);
  if (sign === "!=") return known.length > 0 && !known.some((value) => equal(value, wanted));
  return known.some((value) => (sign === "=" ? equal(value, wanted) : ordered(value, sign, wanted)));
}

function equal(value, wanted) {
  if (typeof value === "number") return wanted.trim() !== "" && value === Number(wanted);
  const text = value === null ? "null" : typeof value === "string" ? value : JSON.stringify(value);
  return text.toLowerCase().replaceAll(" ", "") === wanted.toLowerCase().replaceAll(" ", "");
}

function ordered(value, sign, wanted) {
  const number = Number(wanted);
  const pair = typeof value === "number" && wanted.trim() !== "" && !Number.isNaN(number) ? [value, number]
    : typeof value === "string" ? [value, wanted] : null;
  if (pair === null) return false;
  if (sign === ">") return pair[0] > pair[1];
  if (sign === "<") return pair[0] < pair[1];
  return sign === ">=" ? pair[0] >= pair[1] : pair[0] <= pair[1];
}

function applyFilter() {
  const query = parseQuery(view.query);
  table.matching = sorted(runs.filter((run) => matches(run, query))).map((run) => rows.get(run.key));
  table.most = ROWS_AT_ONCE;
  showRows();
  const unknown = query.unknown.length ? "; no run has the key " + query.unknown.join(", ") : "";
  byId("filter-status").textContent = table.matching.length + " of " + runs.length + " runs shown, " + view.selected.length + " selected" + unknown;
}

function showRows() {
  body.replaceChildren(...table.matching.slice(0, table.most));
  const more = byId("all-rows");
  more.hidden = table.matching.length <= table.most;
  more.textContent = "Show all " + table.matching.length + " rows";
  if (!table.roving?.isConnected) roveTo(body.rows[0]);
}

function showUntil(place) {
  if (place < body.rows.length || body.rows.length === table.matching.length) return;
  table.most = Math.max(place + 1, table.most + ROWS_AT_ONCE);
  body.append(...table.matching.slice(body.rows.length, table.most));
  byId("all-rows").hidden = table.matching.length <= table.most;
}

function sorted(found) {
  const key = view.sort.replace(/^-/, "");
  const sign = view.sort.startsWith("-") ? -1 : 1;
  const compare = new Intl.Collator("en", {numeric: true}).compare;
  const known = found.filter((run) => run[key] !== null && run[key] !== undefined);
  known.sort((a, b) => sign * (typeof a[key] === "number" ? a[key] - b[key] : compare(label(a, key), label(b, key))));
  return [...known, ...found.filter((run) => run[key] === null || run[key] === undefined)];
}

function tellOrder() {
  const key = view.sort.replace(/^-/, "");
  for (const button of document.querySelectorAll(".sort")) {
    const order = button.dataset.sort !== key ? "none" : view.sort.startsWith("-") ? "descending" : "ascending";
    button.closest("th").setAttribute("aria-sort", order);
  }
}

function label(run, key) {
  return key === "name" ? runLabel(run) : String(run[key]);
}

function markSelection() {
  const chosen = new Set(view.selected);
  for (const [key, row] of rows) {
    const there = chosen.has(key);
    row.querySelector("input").checked = there;
    row.classList.toggle("selected", there);
    row.querySelector(".pick").style.setProperty("--own", there ? colourOf(view.slots[key]) : "transparent");
  }
}

// One row takes part in the order of Tab; arrow keys move within the table.
function roveTo(row) {
  for (const [own, place] of [[table.roving, -1], [row, 0]]) {
    for (const control of own?.querySelectorAll("input, button") || []) control.tabIndex = place;
  }
  table.roving = row ?? null;
}

function onTableKey(event) {
  const row = event.target.closest("tr");
  if (!row || event.ctrlKey || event.altKey || event.metaKey) return;
  const controls = [...row.querySelectorAll("input, button")];
  const column = controls.indexOf(event.target);
  if (event.key === "Enter" && event.target.type === "checkbox") {
    event.preventDefault();
    event.target.click();
    return;
  }
  const all = table.matching;
  const at = all.indexOf(row);
  const places = {ArrowDown: [at + 1, column], ArrowUp: [at - 1, column], Home: [0, column], End: [all.length - 1, column],
    PageDown: [Math.min(at + 10, all.length - 1), column], PageUp: [Math.max(at - 10, 0), column],
    ArrowRight: [at, column + 1], ArrowLeft: [at, column - 1]};
  if (!(event.key in places)) return;
  event.preventDefault();
  const [nextRow, nextColumn] = places[event.key];
  const target = all[nextRow]?.querySelectorAll("input, button")[nextColumn];
  if (!target) return;
  showUntil(nextRow);
  roveTo(all[nextRow]);
  target.focus();
}

function startTable(onSelection, onChosen) {
  byId("filter").value = view.query;
  byId("filter").addEventListener("input", (event) => {
    view.query = event.target.value;
    applyFilter();
    saveView();
  });
  for (const button of document.querySelectorAll(".sort")) {
    button.addEventListener("click", () => {
      const key = button.dataset.sort;
      const first = button.dataset.first === "descending" ? "-" + key : key;
      view.sort = view.sort === first ? (first === key ? "-" + key : key) : first;
      tellOrder();
      applyFilter();
      saveView();
    });
  }
  const box = body.closest(".box");
  box.addEventListener("scroll", () => {
    if (box.scrollTop + 2 * box.clientHeight > box.scrollHeight) showUntil(body.rows.length);
  }, {passive: true});
  byId("all-rows").addEventListener("click", () => showUntil(table.matching.length - 1));
  window.addEventListener("beforeprint", () => showUntil(table.matching.length - 1));
  body.addEventListener("change", (event) => {
    const key = event.target.closest("tr").dataset.key;
    onSelection(event.target.checked ? [...view.selected, key] : view.selected.filter((other) => other !== key));
  });
  body.addEventListener("click", (event) => {
    if (event.target.closest(".open")) onChosen(event.target.closest("tr").dataset.key, true);
  });
  body.addEventListener("keydown", onTableKey);
  body.addEventListener("focusin", (event) => roveTo(event.target.closest("tr")));
  byId("select-shown").addEventListener("click", () => onSelection(table.matching.map((row) => row.dataset.key)));
  byId("select-none").addEventListener("click", () => onSelection([]));
  tellOrder();
  applyFilter();
  markSelection();
}
