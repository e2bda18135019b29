// The data of the page, what the reader has chosen, and small tools to build elements. No text ever becomes markup.

const page = JSON.parse(document.getElementById("data").textContent);
const runs = page.runs;
const runByKey = new Map(runs.map((run) => [run.key, run]));
const storageKey = "dlassign:" + location.pathname;
const MOST_COLOURS = 8;

const view = {
  query: "",
  sort: "-started",
  selected: [],
  slots: {},
  x: "step",
  log: false,
  average: false,
  splitsOff: [],
  runsOff: [],
  chosen: null,
  matrix: "test",
  configOpen: false,
  paused: false,
};

function restoreView() {
  let saved = null;
  try {
    saved = JSON.parse(sessionStorage.getItem(storageKey));
  } catch (error) {
    saved = null;
  }
  if (saved && typeof saved === "object") {
    for (const name of Object.keys(view)) {
      if (name in saved) view[name] = saved[name];
    }
  } else {
    selectFirst();
  }
  view.selected = view.selected.filter((key) => runByKey.has(key));
  if (!runByKey.has(view.chosen)) view.chosen = view.selected[0] ?? (runs.length ? runs[0].key : null);
}

// A page opens with the newest runs that have curves, and all seeds of the newest if there are several.
function selectFirst() {
  const drawable = runs.filter((run) => hasCurves(run));
  const seeds = drawable.filter((run) => run.group === drawable[0].group);
  select((seeds.length > 1 && seeds.length <= MOST_COLOURS ? seeds : drawable.slice(0, 4)).map((run) => run.key));
}

function saveView() {
  try {
    sessionStorage.setItem(storageKey, JSON.stringify(view));
  } catch (error) {
    // The page works without; it only forgets when it is loaded again.
  }
}

function hasCurves(run) {
  return Object.keys(page.parts[run.key].curves.y).length > 0;
}

// A run keeps its colour for as long as it is selected, whatever comes or goes beside it.
function select(keys) {
  view.selected = keys;
  const kept = {};
  for (const key of keys) if (key in view.slots) kept[key] = view.slots[key];
  const taken = new Set(Object.values(kept));
  let free = 0;
  for (const key of keys) {
    if (key in kept) continue;
    while (taken.has(free)) free += 1;
    kept[key] = free;
    taken.add(free);
  }
  view.slots = kept;
  view.runsOff = view.runsOff.filter((id) => keys.some((key) => id === key || id === "g" + runByKey.get(key).group));
}

function colourOf(slot) {
  return "var(--c" + (slot % MOST_COLOURS) + ")";
}

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  fill(made, attributes, children);
  return made;
}

function svg(name, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  fill(made, attributes, children);
  return made;
}

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
}

// A box that scrolls has a shadow at each edge behind which there is more.
function showEdges(box) {
  const tell = () => {
    const side = box.parentElement.classList;
    side.toggle("more-left", box.scrollLeft > 1);
    side.toggle("more-right", box.scrollLeft + box.clientWidth < box.scrollWidth - 1);
    side.toggle("more-below", box.scrollTop + box.clientHeight < box.scrollHeight - 1);
  };
  box.addEventListener("scroll", tell, {passive: true});
  const observer = new ResizeObserver(tell);
  observer.observe(box);
  observer.observe(box.firstElementChild);
}

function byId(id) {
  return document.getElementById(id);
}

function configOf(run) {
  return page.configs[page.parts[run.key].config];
}

// Dotted keys with their values; a list of plain values stays whole, as `dlassign runs --where` sees it.
function flatten(value, prefix = "", into = new Map()) {
  const nested = Array.isArray(value) ? value.some(isObject) : isObject(value);
  if (!nested) {
    into.set(prefix, value);
    return into;
  }
  for (const [key, item] of Object.entries(value)) flatten(item, prefix ? prefix + "." + key : key, into);
  return into;
}

const flatConfigs = page.configs.map((config) => flatten(config));

function flatConfigOf(run) {
  return flatConfigs[page.parts[run.key].config];
}

function isObject(value) {
  return value !== null && typeof value === "object" && !Array.isArray(value);
}

function plainText(value) {
  if (value === null || value === undefined) return "–";
  return typeof value === "string" ? value : JSON.stringify(value).replaceAll(",", ", ");
}

function runLabel(run) {
  return run.name + " " + run.folder;
}

const TOLD_APART = 3;
const NO_DIFFERENCE = new Set(page.no_difference);

// What each run is called beside others: its name, or the few config keys that set it apart, or its folder; and the seed
// where several runs differ in nothing else; equal runs of two people have their folders too.
function labelsOf(shown) {
  const groups = new Map(shown.map((run) => [run.group, run]));
  const firsts = [...groups.values()];
  const bases = baseLabels(firsts);
  const base = new Map(firsts.map((run, i) => [run.group, bases[i]]));
  const many = (run) => shown.filter((other) => other.group === run.group).length > 1;
  const twin = (run) => shown.some((other) => other !== run && other.group === run.group && other.seed === run.seed);
  return new Map(shown.map((run) => [run.key, {group: base.get(run.group), run: base.get(run.group)
    + (many(run) ? ", seed " + run.seed : "") + (twin(run) ? ", " + run.folder : "")}]));
}

function baseLabels(firsts) {
  const named = new Map(firsts.map((run) => [run.name, firsts.filter((other) => other.name === run.name)]));
  const told = new Map([...named.values()].flatMap((same) => same.map((run, i) => [run.key, toldApart(same)[i]])));
  return firsts.map((run) => {
    if (named.get(run.name).length === 1) return run.name;
    return (named.size > 1 ? run.name + ", " : "") + told.get(run.key);
  });
}

// What sets runs of one name apart: at most three config keys, by their last part where that is clear, or the hash.
function toldApart(same) {
  const flats = same.map(flatConfigOf);
  const keys = [...new Set(flats.flatMap((flat) => [...flat.keys()]))].filter((key) => !NO_DIFFERENCE.has(key)
    && new Set(flats.map((flat) => JSON.stringify(flat.get(key)))).size > 1);
  const tails = keys.map((key) => key.split(".").pop());
  const short = keys.map((key, i) => (tails.indexOf(tails[i]) !== tails.lastIndexOf(tails[i]) ? key : tails[i]));
  const told = flats.map((flat) => keys.flatMap((key, k) => (flat.has(key) ? [short[k] + " " + plainText(flat.get(key))] : [])).join(", "));
  const clear = keys.length > 0 && keys.length <= TOLD_APART && new Set(told).size === told.length && told.every(Boolean);
  return clear ? told : same.map((run) => run.hash || run.folder);
}

function durationText(seconds) {
  if (seconds < 59.95) return seconds.toFixed(seconds < 1 ? 2 : 1) + " s";
  const whole = Math.round(seconds);
  if (whole < 3600) return Math.floor(whole / 60) + " min " + String(whole % 60).padStart(2, "0") + " s";
  const minutes = Math.round(seconds / 60);
  return Math.floor(minutes / 60) + " h " + String(minutes % 60).padStart(2, "0") + " min";
}
