// Config differences between the selected runs, and everything of one run: figures, confusion matrix, errors, weights, config.

const MOST_COMPARED = 12;
const NOT_COMPARED = new Set(["name", "seed"]);

function drawDifferences() {
  const compared = view.selected.map((key) => runByKey.get(key)).filter((run) => flatConfigOf(run).size > 1);
  const holder = byId("difference-table");
  if (compared.length < 2) {
    holder.replaceChildren(element("p", {class: "muted"}, "Select two or more runs in the table."));
    return;
  }
  const columns = compared.slice(0, MOST_COMPARED);
  const keys = [...new Set(columns.flatMap((run) => [...flatConfigOf(run).keys()]))].filter((key) => !NOT_COMPARED.has(key));
  const differing = keys.filter((key) => new Set(columns.map((run) => JSON.stringify(flatConfigOf(run).get(key)))).size > 1);
  const more = compared.length > columns.length ? "The first " + MOST_COMPARED + " of " + compared.length + " selected runs. " : "";
  const said = differing.length ? more : more + "The configs of these runs are equal but for name and seed.";
  const head = element("tr", {}, element("th", {scope: "col"}, "key"), ...columns.map((run) => element("th", {scope: "col"},
    swatch(colourOf(view.slots[run.key]), null, 0, 14), " ", runLink(run))));
  const lines = ["seed", ...differing].map((key) => element("tr", {}, element("th", {scope: "row"}, element("code", {}, key)),
    ...columns.map((run) => element("td", {}, flatConfigOf(run).has(key) ? plainText(flatConfigOf(run).get(key)) : "(not there)"))));
  holder.replaceChildren(element("p", {class: "muted"}, said),
    boxed("Config keys that differ", element("table", {class: "differences"}, element("thead", {}, head), element("tbody", {}, ...lines))));
}

function runLink(run) {
  return element("a", {class: "run-link", href: "#run-" + run.key}, runLabel(run));
}

function boxed(name, table) {
  const box = element("div", {class: "box", role: "region", tabindex: 0, "aria-label": name}, table);
  const held = element("div", {class: "edges"}, box);
  showEdges(box);
  return held;
}

function fillChosen() {
  const options = runs.map((run) => element("option", {value: run.key}, runLabel(run)));
  byId("chosen").replaceChildren(...options);
}

function drawRun() {
  const holder = byId("run-details");
  const run = runByKey.get(view.chosen);
  if (!run) {
    holder.replaceChildren(element("p", {class: "muted"}, "There is no run."));
    return;
  }
  byId("chosen").value = run.key;
  const parts = [figuresOf(run)];
  if (run.reason) parts.push(element("p", {class: "reason"}, run.reason));
  for (const text of Object.values(run.notes)) parts.push(element("p", {class: "reason"}, "Note: " + text));
  for (const warning of run.warnings) parts.push(element("p", {class: "reason"}, warning));
  parts.push(...confusionOf(run), ...pictureOf("Worst errors", page.errors[run.key]),
    ...pictureOf("Most confused pair", page.confused[run.key]),
    ...pictureOf("First-layer weights", page.weights[run.key]), ...environmentOf(run), ...configTextOf(run));
  holder.replaceChildren(...parts.filter(Boolean));
}

function pairs(entries) {
  const shown = entries.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return element("dl", {}, ...shown.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function figuresOf(run) {
  const percent = (value, loss) => (value === null ? null : value.toFixed(2) + " %" + (loss === null ? "" : ", loss " + loss.toPrecision(4)));
  const marked = (text, mark) => (text === null || !mark ? text : text + " (" + mark + ")");
  const phases = Object.entries(run.phases).map(([phase, seconds]) => phase + " " + durationText(seconds)).join(", ");
  return pairs([["run", element("code", {}, run.path)], ["status", run.status], ["data", run.data], ["model", run.model],
    ["parameters", run.params === null ? null : run.params.toLocaleString("en")],
    ["val", marked(percent(run.val, run.val_loss), run.val_unseen)],
    ["test", marked(percent(run.test, run.test_loss), run.test_max === null ? run.mark : "")],
    ["test maximum", run.test_max !== null ? run.mark + ": " + run.test_max.toFixed(2) + " %" : null],
    ["best on validation", run.best && run.best.value !== null ? run.best.metric + " " + Number(run.best.value).toPrecision(4) + " at step " + run.best.step : null],
    ["steps", run.steps === null ? null : run.steps.toLocaleString("en") + (run.planned && run.planned !== run.steps ? " of " + run.planned.toLocaleString("en") : "")],
    ["time", run.seconds === null ? null : durationText(run.seconds) + (phases ? " (" + phases + ")" : "")],
    ["started", run.started ? run.started + " UTC" : null]]);
}

function confusionOf(run) {
  const splits = page.confusions[run.key];
  const title = element("h3", {id: "matrix-title"}, "Confusion matrix");
  if (!splits) {
    const why = run.status === "finished" ? "It is not in the page: there are too many classes or runs; `dlassign plot --metric confusion` draws it." : "The run has not come to its end.";
    return run.reason ? [] : [title, element("p", {class: "muted"}, why)];
  }
  const names = Object.keys(splits);
  const split = names.includes(view.matrix) ? view.matrix : names[0];
  const choice = element("select", {id: "matrix-split", class: "controls"}, ...names.map((name) => element("option", {value: name, selected: name === split}, name)));
  choice.addEventListener("change", () => {
    view.matrix = choice.value;
    saveView();
    drawRun();
    byId("matrix-split").focus();
  });
  const counts = splits[split];
  const total = sum(counts.map(sum));
  const right = sum(counts.map((row, i) => row[i]));
  const said = "Final evaluation on " + split + ": " + right.toLocaleString("en") + " of " + total.toLocaleString("en") + " right, " +
    ((100 * right) / Math.max(1, total)).toFixed(2) + " %. Rows are true, columns predicted classes; the shade is the share of the row.";
  return [title, names.length > 1 ? element("p", {class: "bar controls"}, element("label", {for: "matrix-split"}, "split"), choice) : null,
    element("p", {class: "muted"}, said), boxed("Confusion matrix", matrixTable(counts, run.classes, split))];
}

function matrixTable(counts, classes, split) {
  const long = classes.some((name) => name.length > 4);
  const head = element("tr", {}, element("th", {scope: "col", class: "corner"}, "true \\ predicted"),
    ...classes.map((name) => element("th", {scope: "col", class: long ? "num turned" : "num"}, element("span", {}, name))),
    element("th", {scope: "col", class: "num"}, "recall %"));
  const lines = counts.map((row, i) => {
    const all = sum(row);
    const cells = row.map((count, j) => {
      const cell = element("td", {class: i === j ? "num right" : "num"}, count ? String(count) : element("span", {class: "muted"}, "0"));
      cell.style.setProperty("--share", (100 * count) / Math.max(1, all) + "%");
      return cell;
    });
    return element("tr", {}, element("th", {scope: "row"}, classes[i]), ...cells, element("td", {class: "num score"}, share(row[i], all)));
  });
  const columns = classes.map((_, j) => sum(counts.map((row) => row[j])));
  const foot = element("tr", {}, element("th", {scope: "row"}, "precision %"),
    ...columns.map((all, j) => element("td", {class: "num score"}, share(counts[j][j], all))), element("td", {}));
  return element("table", {class: "matrix"}, element("caption", {class: "hidden"}, "Counts on " + split + ", recall of each row, precision of each column"),
    element("thead", {}, head), element("tbody", {}, ...lines), element("tfoot", {}, foot));
}

function share(part, all) {
  return all ? ((100 * part) / all).toFixed(1) : "–";
}

function sum(numbers) {
  return numbers.reduce((total, number) => total + number, 0);
}

function pictureOf(heading, picture) {
  if (!picture) return [];
  const title = element("h3", {}, heading);
  if (!picture.source) return [title, element("p", {class: "muted"}, picture.text)];
  const enlarged = Math.min(picture.crisp ? Math.max(1, Math.floor(560 / Math.max(picture.width, picture.height))) : 1, 12);
  const image = element("img", {src: picture.source, width: picture.width * enlarged, height: picture.height * enlarged,
    class: picture.crisp ? "picture crisp" : "picture", alt: heading + ". " + picture.text});
  return [title, element("figure", {}, image, element("figcaption", {class: "muted"}, picture.text))];
}

function environmentOf(run) {
  const found = page.environments[page.parts[run.key].environment];
  if (!Object.keys(found).length) return [];
  const packages = Object.entries(found.packages || {}).map(([name, version]) => name + " " + version);
  const git = found.git ? String(found.git.commit).slice(0, 12) + (found.git.dirty ? ", with changes that were not committed" : "") : null;
  const arithmetic = found.arithmetic || {};
  const data = found.data || {};
  return [element("h3", {}, "Environment"), pairs([
    ["device", [found.device, found.device_name].filter(Boolean).join(", ")],
    ["threads", found.threads ? found.threads + " of " + found.cpus + " processors" : null],
    ["precision", arithmetic.precision ? arithmetic.precision + (arithmetic.why ? " (" + arithmetic.why + ")" : "") : null],
    ["versions", [found.python ? "Python " + found.python : null, ...packages].filter(Boolean).join(", ")],
    ["platform", found.platform], ["git", git],
    ["data", [data.label, ["train", "val", "test"].filter((split) => data["n_" + split]).map((split) => data["n_" + split].toLocaleString("en") + " " + split).join(", "),
      data.sha256 ? "sha256 " + String(data.sha256).slice(0, 12) : null].filter(Boolean).join("; ")],
    ["command", run.command.length ? element("code", {}, run.command.join(" ")) : null]])];
}

function configTextOf(run) {
  const config = configOf(run);
  if (!Object.keys(config).length) return [];
  const held = element("details", {id: "config-text", open: view.configOpen}, element("summary", {}, "Full config"), element("pre", {tabindex: 0}, yamlOf(config)));
  held.addEventListener("toggle", () => {
    view.configOpen = held.open;
    saveView();
  });
  return [held];
}

// YAML that `dlassign train --config` takes: JSON is YAML, so plain values and lists of them stay JSON.
function yamlOf(value, indent = "") {
  return Object.entries(value).map(([key, item]) => indent + key + ":" + yamlItem(item, indent)).join("");
}

function yamlItem(item, indent) {
  if (isObject(item) && Object.keys(item).length) return "\n" + yamlOf(item, indent + "  ");
  if (Array.isArray(item) && item.some(isObject)) {
    return "\n" + item.map((part) => (isObject(part) ? yamlOf(part, indent + "    ").replace(indent + "    ", indent + "  - ") : indent + "  - " + JSON.stringify(part) + "\n")).join("");
  }
  const text = typeof item === "string" && /^[A-Za-z][\w.-]*$/.test(item) && !/^(true|false|null|yes|no|on|off|y|n)$/i.test(item) ? item : JSON.stringify(item);
  return " " + text + "\n";
}
