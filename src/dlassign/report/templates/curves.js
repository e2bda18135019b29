// From the selected runs to the two charts: which curves, in which units, as means over seeds, and the legend.

// The line styles of every picture of dlassign (plots/panel.py): a full line, dash-dot, dashed, dotted.
const DASHES = {train: null, "train, evaluated": "9 3 1.5 3", val: "6 4", test: "1.5 3"};
const CURVES = Object.keys(DASHES);
const MOST_DRAWN = 24;
const MOST_GRID = 300;
const X_NAMES = {step: "step", epoch: "epoch", seconds: "seconds of training"};

function drawCurves() {
  const {lines, note} = lineGroups();
  const there = curvesThere(lines);
  drawSplitLegend(there);
  drawRunLegend(lines);
  byId("curve-note").textContent = note;
  const shown = lines.filter((line) => !view.runsOff.includes(line.id));
  const curves = there.filter((curve) => !view.splitsOff.includes(curve));
  const spec = {xName: X_NAMES[view.x]};
  drawChart(byId("loss-chart"), {...spec, title: "Loss", log: view.log, series: seriesOf(shown, curves, "loss"),
    format: (value) => value.toPrecision(4)});
  drawChart(byId("accuracy-chart"), {...spec, title: "Accuracy in percent", log: false, most: 100,
    series: seriesOf(shown, curves, "accuracy"), format: (value) => value.toFixed(2) + " %"});
}

// What is one line of the legend: a run, or the selected runs that differ in the seed alone.
function lineGroups() {
  const drawable = view.selected.map((key) => runByKey.get(key)).filter(hasCurves);
  const notes = [];
  if (!view.selected.length) notes.push("Select runs in the table to draw their curves.");
  if (drawable.length < view.selected.length) notes.push(count(view.selected.length - drawable.length, "selected run") + " without curves.");
  const labels = labelsOf(drawable);
  const groups = new Map();
  for (const run of drawable) {
    const id = view.average ? "g" + run.group : run.key;
    groups.set(id, [...(groups.get(id) || []), run]);
  }
  const all = [...groups].map(([id, members], i) => {
    const {group, run} = labels.get(members[0].key);
    const [label, slot] = view.average ? [group + " (" + count(members.length, "seed") + ")", i] : [run, view.slots[members[0].key]];
    return {id, members, colour: colourOf(slot), shape: Math.floor(slot / MOST_COLOURS), label};
  });
  if (all.length > MOST_DRAWN) notes.push("The first " + MOST_DRAWN + " of " + all.length + " lines are drawn; select fewer runs.");
  if (all.length > MOST_COLOURS) notes.push("Colours repeat after " + MOST_COLOURS + " lines, with other marks; the legend hides and shows each.");
  if (view.x === "epoch" && drawable.some((run) => !run.spe)) notes.push("Runs without a known number of steps an epoch are left out.");
  return {lines: all.slice(0, MOST_DRAWN), note: notes.join(" ")};
}

function count(number, noun) {
  return number + " " + noun + (number === 1 ? "" : "s");
}

function curvesThere(lines) {
  const there = new Set(lines.flatMap((line) => line.members.flatMap((run) => Object.keys(page.parts[run.key].curves.y))));
  return CURVES.filter((curve) => there.has(curve));
}

function seriesOf(lines, curves, metric) {
  const found = [];
  for (const line of lines) {
    for (const curve of curves) {
      const parts = line.members.map((run) => pointsOf(run, curve, metric)).filter((points) => points && points.x.length);
      if (!parts.length) continue;
      const points = parts.length > 1 ? averaged(parts) : {...parts[0], low: null, high: null};
      if (!points.x.length) continue;
      found.push({...points, label: line.label + ", " + curve, colour: line.colour, shape: line.shape, dash: DASHES[curve],
        width: curve === "train" ? 1.5 : 2, marked: curve !== "train"});
    }
  }
  return found;
}

function pointsOf(run, curve, metric) {
  const {x: xs, y} = page.parts[run.key].curves;
  const own = y[curve]?.[metric];
  if (!own) return null;
  const [steps, seconds] = xs[own[0]];
  if (view.x === "seconds") return known(seconds, own[1]);
  if (view.x === "step") return known(steps, own[1]);
  return run.spe ? known(steps.map((step) => Number((step / run.spe).toPrecision(6))), own[1]) : null;
}

function known(x, y) {
  const kept = x.flatMap((value, i) => (value === null ? [] : [i]));
  return {x: kept.map((i) => x[i]), y: kept.map((i) => y[i])};
}

// Mean, smallest and largest over seeds where all of them have values; between its points a curve is taken as straight.
function averaged(parts) {
  const first = Math.max(...parts.map((part) => part.x[0]));
  const last = Math.min(...parts.map((part) => part.x[part.x.length - 1]));
  let grid = [...new Set(parts.flatMap((part) => part.x))].filter((x) => x >= first && x <= last).sort((a, b) => a - b);
  if (grid.length > MOST_GRID) {
    const wide = grid.length;
    grid = Array.from({length: MOST_GRID}, (_, i) => grid[Math.round((i * (wide - 1)) / (MOST_GRID - 1))]);
  }
  const values = parts.map((part) => interpolated(part, grid));
  const over = (combine) => grid.map((_, i) => (values.some((own) => own[i] === null) ? null : combine(values.map((own) => own[i]))));
  return {
    x: grid,
    y: over((ys) => ys.reduce((sum, y) => sum + y, 0) / ys.length),
    low: over((ys) => Math.min(...ys)),
    high: over((ys) => Math.max(...ys)),
  };
}

function interpolated({x, y}, grid) {
  let right = 0;
  return grid.map((at) => {
    while (right < x.length - 1 && x[right] < at) right += 1;
    if (x[right] === at || right === 0) return y[right];
    const [y0, y1] = [y[right - 1], y[right]];
    if (y0 === null || y1 === null) return null;
    return y0 + ((at - x[right - 1]) / (x[right] - x[right - 1])) * (y1 - y0);
  });
}

function drawSplitLegend(curves) {
  const holder = byId("split-legend");
  holder.replaceChildren(...curves.map((curve) => toggle("split:" + curve, curve, "currentColor", DASHES[curve], !view.splitsOff.includes(curve),
    () => flip(view.splitsOff, curve))));
}

function drawRunLegend(lines) {
  const holder = byId("run-legend");
  holder.replaceChildren(...lines.map((line) => toggle("line:" + line.id, line.label, line.colour, null, !view.runsOff.includes(line.id),
    () => flip(view.runsOff, line.id), line.shape)));
}

function toggle(id, text, colour, dash, on, act, shape = 0) {
  const button = element("button", {type: "button", class: "toggle", id, "aria-pressed": String(on)}, swatch(colour, dash, shape), text);
  button.addEventListener("click", () => {
    act();
    saveView();
    drawCurves();
    byId(id)?.focus();
  });
  return button;
}

function flip(list, item) {
  const at = list.indexOf(item);
  if (at < 0) list.push(item);
  else list.splice(at, 1);
}

function startCurves() {
  const axis = byId("x-axis");
  axis.value = view.x;
  axis.addEventListener("change", () => choose("x", axis.value));
  for (const [id, name] of [["log-loss", "log"], ["average", "average"]]) {
    const box = byId(id);
    box.checked = view[name];
    box.addEventListener("change", () => choose(name, box.checked));
  }
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) drawCurves();
    width = window.innerWidth;
  });
  drawCurves();
}

function choose(name, value) {
  view[name] = value;
  saveView();
  drawCurves();
}
