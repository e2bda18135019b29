// One chart: axes, lines, bands, and the values under the pointer or the arrow keys. Knows nothing of runs.
//
// A series is {label, colour, dash, x: [...], y: [...], low: [...] or null, high: [...] or null}, by rising x; null is a
// missing value.

const PAD = {left: 52, right: 14, top: 10, bottom: 40};
const MOST_READ = 12;
const MOST_TICKS = 50;

function drawChart(holder, spec) {
  const width = Math.max(260, Math.round(holder.clientWidth || 600));
  const height = width < 480 ? 240 : 300;
  const scales = makeScales(spec, width, height);
  const drawing = svg("svg", {viewBox: "0 0 " + width + " " + height, width, height, tabindex: scales ? 0 : null,
    role: "img", "aria-label": spec.title + " against " + spec.xName + ", " + spec.series.length + " curves" +
    (scales ? "; arrow keys read values" : "")});
  if (!scales) {
    drawing.append(svg("text", {x: width / 2, y: height / 2, class: "empty", "text-anchor": "middle"}, "nothing to draw"));
    holder.replaceChildren(drawing);
    return;
  }
  drawing.append(axes(scales, spec, width, height));
  for (const line of spec.series) if (line.low) drawing.append(band(line, scales));
  for (const line of spec.series) drawing.append(...lineOf(line, scales));
  const cursor = svg("g", {class: "cursor"});
  drawing.append(cursor);
  const box = element("div", {class: "readout", hidden: true});
  holder.replaceChildren(drawing, box);
  readValues({drawing, cursor, box, scales, spec, width, height});
}

function makeScales(spec, width, height) {
  let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const line of spec.series) {
    line.x.forEach((x, i) => {
      for (const y of [line.y[i], line.low?.[i], line.high?.[i]]) {
        if (x === null || !Number.isFinite(y) || (spec.log && y <= 0)) continue;
        [x0, x1, y0, y1] = [Math.min(x0, x), Math.max(x1, x), Math.min(y0, y), Math.max(y1, y)];
      }
    });
  }
  if (x0 > x1) return null;
  const half = Math.max(0.5, Math.abs(x0) * 1e-6);
  if (x0 === x1) [x0, x1] = [x0 - half, x1 + half];
  const place = spec.log ? Math.log10 : (value) => value;
  let [low, high] = [place(y0), place(y1)];
  const margin = (high - low || Math.abs(high) * 0.1 || 1) * 0.05;
  low -= margin;
  high += margin;
  if (!spec.log && y0 >= 0) low = Math.max(low, 0);
  if (spec.most !== undefined) high = Math.min(high, Math.max(spec.most, y1));
  if (high === low) low -= 1;
  return {
    x: (value) => PAD.left + ((value - x0) / (x1 - x0)) * (width - PAD.left - PAD.right),
    y: (value) => height - PAD.bottom - ((place(value) - low) / (high - low)) * (height - PAD.top - PAD.bottom),
    xTicks: linearTicks(x0, x1, width / 90),
    yTicks: spec.log ? logTicks(low, high) : linearTicks(low, high, 6),
    log: spec.log,
  };
}

function linearTicks(low, high, about) {
  const rough = (high - low) / Math.max(2, about);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((candidate) => candidate >= rough);
  const ticks = [];
  const first = Math.ceil(low / step - 1e-9);
  // The bound is for numbers so large that a step cannot be added to them.
  for (let n = 0; n < MOST_TICKS && (first + n) * step <= high + step * 1e-9; n += 1) ticks.push(Number(((first + n) * step).toPrecision(12)));
  return ticks;
}

function logTicks(low, high) {
  const factors = high - low > 2.5 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 5];
  const ticks = [];
  for (let power = Math.floor(low); power <= Math.ceil(high); power += 1) {
    for (const factor of factors) {
      const tick = factor * 10 ** power;
      if (Math.log10(tick) >= low && Math.log10(tick) <= high) ticks.push(Number(tick.toPrecision(3)));
    }
  }
  return ticks.length > 1 ? ticks : linearTicks(10 ** low, 10 ** high, 4).filter((tick) => tick > 0);
}

function tickText(value) {
  if (value !== 0 && (Math.abs(value) < 1e-3 || Math.abs(value) >= 1e7)) return value.toExponential().replace("e+", "e");
  return value.toLocaleString("en", {maximumSignificantDigits: 6});
}

function axes(scales, spec, width, height) {
  const group = svg("g", {class: "axes", "aria-hidden": "true"});
  const bottom = height - PAD.bottom;
  for (const tick of scales.yTicks) {
    const y = scales.y(tick);
    group.append(svg("line", {class: "grid", x1: PAD.left, x2: width - PAD.right, y1: y, y2: y}));
    group.append(svg("text", {x: PAD.left - 8, y: y + 4, "text-anchor": "end"}, tickText(tick)));
  }
  group.append(svg("line", {class: "axis", x1: PAD.left, x2: width - PAD.right, y1: bottom, y2: bottom}));
  for (const tick of scales.xTicks) {
    const x = scales.x(tick);
    group.append(svg("line", {class: "axis", x1: x, x2: x, y1: bottom, y2: bottom + 4}));
    group.append(svg("text", {x, y: bottom + 17, "text-anchor": "middle"}, tickText(tick)));
  }
  group.append(svg("text", {class: "name", x: (PAD.left + width - PAD.right) / 2, y: height - 5, "text-anchor": "middle"}, spec.xName));
  return group;
}

function pathOf(xs, ys, scales) {
  let path = "";
  let pen = "M";
  xs.forEach((x, i) => {
    const y = ys[i];
    if (x === null || !Number.isFinite(y) || (scales.log && y <= 0)) {
      pen = "M";
      return;
    }
    path += pen + scales.x(x).toFixed(1) + "," + scales.y(y).toFixed(1);
    pen = "L";
  });
  return path;
}

// Lines of one colour differ in their marks: a point, a square, a triangle.
const FEW_MARKS = 8;

function markOf(shape, x, y, colour) {
  if (!shape) return svg("circle", {cx: x, cy: y, r: 2.6, fill: colour});
  const d = shape % 2 ? "m-4,-4h8v8h-8z" : "m0,-5l5,9h-10z";
  return svg("path", {class: "mark", d: "M" + x.toFixed(1) + "," + y.toFixed(1) + d, fill: colour});
}

function lineOf(line, scales) {
  const drawn = [svg("path", {class: "curve", d: pathOf(line.x, line.y, scales), stroke: line.colour,
    "stroke-dasharray": line.dash, "stroke-width": line.width})];
  const known = line.y.flatMap((y, i) => (Number.isFinite(y) && line.x[i] !== null && !(scales.log && y <= 0) ? [i] : []));
  if (known.length === 1 || (known.length > 1 && known.length <= 20 && line.marked)) {
    for (const i of known) drawn.push(markOf(line.shape, scales.x(line.x[i]), scales.y(line.y[i]), line.colour));
  } else if (line.shape) {
    const every = Math.ceil(known.length / FEW_MARKS);
    for (const i of known.filter((_, n) => n % every === 0)) drawn.push(markOf(line.shape, scales.x(line.x[i]), scales.y(line.y[i]), line.colour));
  }
  return drawn;
}

function band(line, scales) {
  const known = line.x.flatMap((x, i) => (Number.isFinite(line.low[i]) && Number.isFinite(line.high[i]) && !(scales.log && line.low[i] <= 0) ? [i] : []));
  const upper = pathOf(known.map((i) => line.x[i]), known.map((i) => line.high[i]), scales);
  const back = [...known].reverse();
  const lower = pathOf(back.map((i) => line.x[i]), back.map((i) => line.low[i]), scales);
  return svg("path", {class: "band", d: upper && lower ? upper + lower.replace("M", "L") + "Z" : "", fill: line.colour});
}

// The index of the value nearest to x among sorted values; missing ones are skipped by the caller.
function nearest(xs, x) {
  let low = 0;
  let high = xs.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle + 1;
    else high = middle;
  }
  return low > 0 && Math.abs(xs[low - 1] - x) <= Math.abs(xs[low] - x) ? low - 1 : low;
}

function readValues(chart) {
  const {drawing, scales, spec} = chart;
  const all = [...new Set(spec.series.flatMap((line) => line.x.filter((x) => x !== null)))].sort((a, b) => a - b);
  const places = all.map((x) => scales.x(x));
  let at = null;
  const go = (index, spoken) => {
    at = Math.max(0, Math.min(all.length - 1, index));
    showValues(chart, all[at], spoken);
  };
  const leave = () => {
    chart.cursor.replaceChildren();
    chart.box.hidden = true;
  };
  drawing.addEventListener("pointermove", (event) => {
    const bounds = drawing.getBoundingClientRect();
    go(nearest(places, event.clientX - bounds.left), false);
  });
  drawing.addEventListener("pointerleave", leave);
  drawing.addEventListener("blur", leave);
  drawing.addEventListener("keydown", (event) => {
    const from = at === null ? -1 : at;
    const steps = {ArrowRight: from + 1, ArrowLeft: from - 1, PageDown: from + 10, PageUp: from - 10, Home: 0, End: all.length - 1};
    if (event.key === "Escape") leave();
    if (!(event.key in steps)) return;
    event.preventDefault();
    go(steps[event.key], true);
  });
}

function showValues({cursor, box, scales, spec, width, height}, x, spoken) {
  const read = [];
  for (const line of spec.series) {
    const i = line.x.length ? nearest(line.x, x) : -1;
    if (i < 0 || !Number.isFinite(line.y[i]) || (scales.log && line.y[i] <= 0)) continue;
    if (x < line.x[0] - gapAt(line.x, 0) || x > line.x[line.x.length - 1] + gapAt(line.x, line.x.length - 1)) continue;
    read.push({line, i});
  }
  const left = scales.x(x);
  cursor.replaceChildren(svg("line", {x1: left, x2: left, y1: PAD.top, y2: height - PAD.bottom}),
    ...read.map(({line, i}) => svg("circle", {cx: scales.x(line.x[i]), cy: scales.y(line.y[i]), r: 4, fill: line.colour})));
  read.sort((a, b) => b.line.y[b.i] - a.line.y[a.i]);
  const head = spec.xName + " " + tickText(x);
  box.replaceChildren(element("p", {class: "at"}, head), ...read.slice(0, MOST_READ).map((item) => readingRow(item, x, spec)));
  if (read.length > MOST_READ) box.append(element("p", {class: "muted"}, "and " + (read.length - MOST_READ) + " more"));
  box.hidden = false;
  const wide = box.offsetWidth;
  box.style.left = Math.max(0, left + 14 + wide > width ? left - 14 - wide : left + 14) + "px";
  if (spoken) {
    byId("reading").textContent = head + ": " + read.slice(0, MOST_READ).map(({line, i}) => line.label + " " + spec.format(line.y[i])).join(", ");
  }
}

function gapAt(xs, i) {
  if (xs.length < 2) return Infinity;
  return i === 0 ? xs[1] - xs[0] : xs[i] - xs[i - 1];
}

function readingRow({line, i}, x, spec) {
  const away = line.x[i] === x ? "" : " at " + tickText(line.x[i]);
  const range = line.low && Number.isFinite(line.low[i]) ? "[" + spec.format(line.low[i]) + ", " + spec.format(line.high[i]) + "]" : "";
  return element("p", {}, swatch(line.colour, line.dash, line.shape), element("b", {}, spec.format(line.y[i])),
    range ? element("span", {class: "range"}, range) : null, element("span", {class: "what"}, line.label + away));
}

function swatch(colour, dash, shape = 0, width = 32) {
  return svg("svg", {class: "swatch", width, height: 10, viewBox: "0 0 " + width + " 10", "aria-hidden": "true"},
    svg("line", {x1: 1, x2: width - 1, y1: 5, y2: 5, stroke: colour, "stroke-dasharray": dash, "stroke-width": 2.5}),
    shape ? markOf(shape, width / 2, 5, colour) : null);
}
