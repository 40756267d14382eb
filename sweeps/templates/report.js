"use strict";
// Draws, filters and sorts what Python computed. Text reaches the page through textContent and escaped() alone.
const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);
const dark = matchMedia("(prefers-color-scheme: dark)");
let printing = false;

const HUES = { none: null, rect: 212, random: 28, pca: 282, "pca-release": 325, magnitude: 165 };
const SPARE = [50, 0, 95, 245];
const SYMBOLS = { none: "square", rect: "circle", random: "x", pca: "triangle-up", "pca-release": "triangle-down", magnitude: "diamond" };
const DASHES = ["solid", "dash", "dot", "dashdot", "longdash"];
const PILED = 200, SINGLE = 1000, MANY_LINES = 60, HEAVY_CELLS = 300, LABELLED = 24, PAGE = 100, PRINTED = 2000, EXAMPLES = 8;

// ---------------------------------------------------------------- cells
const cells = data.cells.map((line) => Object.fromEntries(data.columns.map((name, i) => [name, line[i]])));
const owners = data.curves.groups.map((values) => Object.fromEntries(data.curves.ids.map((id, i) => [id, values[i]])));
const curves = data.curves.lines.map(([owner, name, edits, y, half, seeds]) => ({ ...owners[owner], owner, name: data.curves.names[name], x: data.curves.edits[edits], y, half, seeds }));
const unique = (values) => [...new Set(values)];
const label = (c) => (c.k === null ? c.regularizer : `${c.regularizer} ${c.k}`);
const settingOf = (c) => (c.batch_size > 1 ? `${c.setting} b=${c.batch_size}` : c.setting);
const isUnedited = (c) => c.setting === "unedited";
const groupOf = (c) => [c.model, c.method, settingOf(c)].join(" · ");
const seedless = new Set(cells.map((c) => c.seed)).size < 2;
const groups = unique(cells.filter((c) => !isUnedited(c)).map(groupOf));
const describe = (c) => {
  const of = groups.length < 2 ? "" : isUnedited(c) ? `${c.model} · ` : `${groupOf(c)} · `;
  return of + (isUnedited(c) ? "unedited" : `${label(c)}${seedless ? "" : ` · seed ${c.seed}`}`);
};
const labels = unique(cells.filter((c) => !isUnedited(c)).map(label));
const hidden = new Set();

const WHOLE = new Set(["seed", "n_edits", "batch_size", "retention_tasks"]);
function shown(value, name) {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value !== "number") return value === true ? "yes" : value === false ? "" : String(value);
  if (WHOLE.has(name)) return String(value);
  const size = Math.abs(value);
  return size >= 10 ? value.toFixed(1) : size > 0 && size < 0.001 ? value.toExponential(1) : value.toFixed(3);
}
const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null) node.setAttribute(name, value);
  }
  node.append(...children.map((child) => (child instanceof Node ? child : document.createTextNode(child))));
  return node;
}

function fill(select, options, chosen) {
  select.replaceChildren(...options.map(([value, text]) => element("option", { value, selected: value === chosen }, text)));
}

// ---------------------------------------------------------------- colours
const others = unique(cells.map((c) => c.regularizer)).filter((name) => !(name in HUES));
const levels = new Map(unique(cells.map((c) => c.regularizer)).map((name) => [name, unique(cells.filter((c) => c.regularizer === name && c.k !== null).map((c) => c.k)).sort((a, b) => a - b)]));

function color(regularizer, k) {
  const night = dark.matches && !printing;
  if (regularizer === "none") return night ? "#d7dce2" : "#2b3036";
  const hue = HUES[regularizer] ?? SPARE[others.indexOf(regularizer) % SPARE.length];
  const ks = levels.get(regularizer) ?? [];
  const place = ks.length < 2 ? 0.4 : ks.indexOf(k) / (ks.length - 1);
  const light = night ? 82 - 26 * place : 56 - 32 * place;
  return `hsl(${hue}, ${night ? 75 : 78}%, ${light}%)`;
}
const symbol = (regularizer) => SYMBOLS[regularizer] ?? "star";

function theme(extra) {
  const style = getComputedStyle(document.documentElement);
  const night = dark.matches && !printing;
  const pick = (name, paper) => (printing ? paper : style.getPropertyValue(name).trim());
  const line = pick("--line", "#d0d7de");
  const axis = { gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  const base = {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, hovermode: "closest",
    font: { color: pick("--ink", "#1b1f24"), family: "system-ui, sans-serif", size: 12 },
    hoverlabel: { bgcolor: night ? "#2a3038" : "#ffffff", bordercolor: line, font: { color: night ? "#e6e9ed" : "#1b1f24" }, align: "left" },
  };
  return { ...base, ...extra, xaxis: { ...axis, ...extra.xaxis }, yaxis: { ...axis, ...extra.yaxis } };
}
const config = { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset" };

// ---------------------------------------------------------------- filters and legend
const FILTERS = [["model", (c) => c.model], ["method", (c) => c.method], ["setting", settingOf]];
const chosen = {};

function visible(c) {
  if (isUnedited(c)) return !chosen.model || c.model === chosen.model;
  return !hidden.has(label(c)) && FILTERS.every(([name, of]) => !chosen[name] || of(c) === chosen[name]);
}

function buildFilters() {
  for (const [name, of] of FILTERS) {
    const values = unique(cells.filter((c) => !isUnedited(c)).map(of));
    if (values.length < 2) continue;
    const select = element("select", { id: `filter-${name}`, onchange: () => { chosen[name] = select.value; drawAll(); } });
    fill(select, [["", "all"], ...values.map((v) => [v, v])], "");
    byId("filters").append(element("label", {}, `${name} `, select));
  }
}

function drawLegend() {
  byId("legend").replaceChildren(...labels.map((name) => {
    const c = cells.find((cell) => !isUnedited(cell) && label(cell) === name);
    const mark = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    mark.setAttribute("width", "22"); mark.setAttribute("height", "10"); mark.setAttribute("aria-hidden", "true");
    const stroke = document.createElementNS("http://www.w3.org/2000/svg", "line");
    for (const [key, value] of Object.entries({ x1: 0, x2: 22, y1: 5, y2: 5, stroke: color(c.regularizer, c.k), "stroke-width": 4 })) stroke.setAttribute(key, value);
    mark.append(stroke);
    const toggle = () => { if (!hidden.delete(name)) hidden.add(name); drawAll(); };
    return element("button", { type: "button", "aria-pressed": String(!hidden.has(name)), onclick: toggle }, mark, name);
  }));
}

// ---------------------------------------------------------------- scatter
const X_AXES = [
  ["edit_retention", "editing kept (token accuracy)"], ["edit_retention_preference", "editing kept (preference)"],
  ["edit_score", "reliability and generalization"], ["reliability_token_accuracy", "reliability"],
  ["generalization_token_accuracy", "generalization"], ["locality_token_accuracy", "locality"],
];
const Y_AXES = [
  ["task_retention", "tasks kept"], ["task_score", "mean task score"], ["task_score_release", "mean task score (release)"],
  ...data.tasks.map((task) => [`${task}_score`, task]), ["perplexity", "perplexity (lower is better)"], ["drift", "drift (lower is better)"],
];

function front(points, x, y, lower) {
  const sign = lower ? -1 : 1;
  let best = -Infinity;
  return [...points].sort((a, b) => b[x] - a[x] || sign * (b[y] - a[y])).filter((c) => {
    const better = sign * c[y] > best;
    if (better) best = sign * c[y];
    return better;
  });
}

// Points that fall on one another: each cell's pile, in the order in which they are drawn.
function piles(points, x, y) {
  const span = (key) => Math.max(...points.map((c) => c[key])) - Math.min(...points.map((c) => c[key])) || 1;
  const [wide, high] = [span(x), span(y)], found = [];
  for (const c of [...points].sort((a, b) => labels.indexOf(label(a)) - labels.indexOf(label(b)))) {
    const pile = found.find(([first]) => Math.abs(first[x] - c[x]) < 0.012 * wide && Math.abs(first[y] - c[y]) < 0.02 * high);
    if (pile) pile.push(c); else found.push([c]);
  }
  return new Map(found.flatMap((pile) => pile.map((c) => [c, pile])));
}

// Cells that differ in nothing but the seed as one, with the means of what the scatter shows.
function overSeeds(many, axes) {
  const alike = new Map();
  for (const c of many) {
    const key = `${groupOf(c)}|${label(c)}|${c.n_edits}`;
    if (alike.has(key)) alike.get(key).push(c); else alike.set(key, [c]);
  }
  const averaged = unique([...axes, "reliability_token_accuracy", "generalization_token_accuracy", "locality_token_accuracy", "edit_retention", "task_retention", "task_score"]);
  return [...alike.values()].map((of) => {
    const mean = (name) => { const known = of.map((c) => c[name]).filter(Number.isFinite); return known.length ? known.reduce((a, b) => a + b) / known.length : null; };
    return { ...of[0], ...Object.fromEntries(averaged.map((name) => [name, mean(name)])), seed: of.map((c) => c.seed).join(", ") };
  });
}

function drawScatter() {
  const [x, y] = [byId("scatter-x").value, byId("scatter-y").value];
  const lower = y === "perplexity" || y === "drift";
  const share = (name) => (name.includes("retention") ? ".0%" : ".4~g");
  const each = cells.filter((c) => visible(c) && !isUnedited(c) && Number.isFinite(c[x]) && Number.isFinite(c[y]));
  const known = each.length > SINGLE ? overSeeds(each, [x, y]) : each;
  const piled = known.length <= PILED ? piles(known, x, y) : new Map(known.map((c) => [c, [c]]));
  const rings = (c) => { const pile = piled.get(c); return pile.length - 1 - pile.indexOf(c); }; // how many lie above it
  const names = (c) => unique(piled.get(c).map(label)).join(", ");
  const traces = labels.filter((name) => known.some((c) => label(c) === name)).map((name) => {
    const mine = known.filter((c) => label(c) === name);
    const { regularizer, k } = mine[0];
    const size = known.length <= PILED ? mine.map((c) => 11 + 7 * rings(c)) : known.length > SINGLE ? 6 : 11;
    return {
      type: "scatter", name: escaped(name), x: mine.map((c) => c[x]), y: mine.map((c) => c[y]), customdata: mine.map((c) => c.cell),
      mode: known.length <= LABELLED ? "markers+text" : "markers", text: mine.map((c) => (piled.get(c)[0] === c ? escaped(names(c)) : "")), textposition: "top center", cliponaxis: false,
      hovertext: mine.map((c) => [
        `<b>${escaped(label(c))}</b>`, escaped(groupOf(c)), `${c.n_edits} edits, seed ${c.seed}`,
        `reliability ${shown(c.reliability_token_accuracy)}, generalization ${shown(c.generalization_token_accuracy)}, locality ${shown(c.locality_token_accuracy)}`,
        `editing kept ${shown(c.edit_retention)}, tasks kept ${shown(c.task_retention)}`, `mean task score ${shown(c.task_score)}`,
        ...(piled.get(c).length > 1 ? [`in the same place: ${escaped(names(c))}`] : []),
      ].join("<br>")),
      hoverinfo: "text", marker: { opacity: 1, line: { width: 1, color: "#ffffff" }, color: color(regularizer, k), symbol: symbol(regularizer), size },
    };
  });
  const drawn = unique(known.map(groupOf));
  if (drawn.length <= 6) {
    for (const group of drawn) {
      const line = front(known.filter((c) => groupOf(c) === group), x, y, lower);
      if (line.length > 1) traces.unshift({ type: "scatter", mode: "lines", hoverinfo: "skip", x: line.map((c) => c[x]), y: line.map((c) => c[y]), line: { dash: "dot", width: 1.5, color: "#8a939e" } });
    }
  }
  const bases = cells.filter((c) => isUnedited(c) && visible(c) && Number.isFinite(c[y]));
  const oneBase = unique(bases.map((c) => shown(c[y]))).length === 1;
  const narrow = byId("scatter").clientWidth < 560;
  const shapes = bases.length > 3 && !oneBase ? [] : bases.map((c) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: c[y], y1: c[y], line: { dash: "dash", width: 1, color: "#8a939e" } }));
  const annotations = bases.length > 3 && !oneBase ? [] : (oneBase ? bases.slice(0, 1) : bases).map((c) => ({ xref: "paper", x: 0, y: c[y], text: !oneBase ? `unedited ${escaped(c.model)}` : "unedited", showarrow: false, xanchor: "left", yanchor: "bottom", font: { size: 11 } }));
  const name = (axes, key) => axes.find(([value]) => value === key)[1];
  Plotly.react("scatter", traces, theme({
    margin: { l: 50, r: narrow ? 20 : 40, t: 20, b: 50 }, shapes, annotations,
    xaxis: { title: { text: name(X_AXES, x) }, tickformat: share(x) }, yaxis: { title: { text: name(Y_AXES, y) }, tickformat: share(y) },
  }), config);
  const unknown = cells.filter((c) => visible(c) && !isUnedited(c)).length - each.length;
  byId("scatter-note").textContent = (known.length < each.length ? `Means over seeds of ${each.length} cells; choose fewer to see each. ` : "") + (known.length ? "Dotted: the front, cells that no other one of their group beats on both axes. " : "No cell has both values. ")
    + (unknown ? `${unknown} cells lack one of the two values; the table says why. ` : "") + "Click a point for its outputs.";
}

// ---------------------------------------------------------------- curves
const METRICS = [["score", "score"], ["score_release", "score as in the release"], ["score_answered", "score of the answered"], ["answered", "share answered"]];

let drawing = 0; // of the last call; panels of an older one are not drawn any more

function drawCurves() {
  const metric = byId("curve-metric").value;
  const panels = [
    ["reliability/token_accuracy", "reliability"], ["generalization/token_accuracy", "generalization"], ["locality/token_accuracy", "locality"],
    ...data.tasks.map((task) => [`${task}/${metric}`, task]), ["perplexity", "perplexity"], ["drift", "drift"],
  ];
  const wanted = owners.map(visible);
  const fits = curves.filter((line) => wanted[line.owner]);
  const named = new Map(panels.map(([name]) => [name, []]));
  for (const line of fits) named.get(line.name)?.push(line);
  const present = panels.filter(([name]) => named.get(name).length);
  const drawn = unique(owners.filter((owner, i) => wanted[i]).map(groupOf));
  const mine = ++drawing, heavy = cells.length > HEAVY_CELLS && !printing;
  let cut = false;
  byId("curve-grid").replaceChildren(...present.map(([name]) => element("div", { class: "plot", id: `curve-${name}` })));
  for (const [name, title] of present) {
    const lines = named.get(name);
    cut ||= lines.length > MANY_LINES;
    const traces = lines.slice(0, MANY_LINES).map((line) => {
      const { seeds } = line, up = line.half.map((v) => v ?? 0);
      const stroke = color(line.regularizer, line.k);
      return {
        type: "scatter", mode: "lines+markers", x: line.x, y: line.y, hoverinfo: "text",
        hovertext: line.x.map((x, i) => `<b>${escaped(label(line))}</b><br>${escaped(groupOf(line))}<br>${x} edits: ${shown(line.y[i])}${line.half[i] === null ? "" : seeds ? ` (${shown(line.y[i] - up[i])} to ${shown(line.y[i] + up[i])})` : ` ± ${shown(up[i])}`}`),
        line: { color: stroke, width: 2, dash: DASHES[drawn.indexOf(groupOf(line)) % DASHES.length] }, marker: { color: stroke, symbol: symbol(line.regularizer), size: 6 },
        error_y: { type: "data", array: up, thickness: 1, width: 2, color: stroke, visible: lines.length <= 12 },
      };
    });
    const ticks = unique(lines.flatMap((line) => line.x)).sort((a, b) => a - b);
    const draw = () => mine === drawing && Plotly.newPlot(`curve-${name}`, traces, theme({
      title: { text: escaped(title), font: { size: 13 }, x: 0.02, xanchor: "left", y: 0.97 }, margin: { l: 40, r: 10, t: 30, b: 36 },
      xaxis: { title: { text: "edits", standoff: 4 }, ...(ticks.length <= 7 ? { tickvals: ticks } : {}) },
      yaxis: { rangemode: "tozero", nticks: 5, tickformat: ".4~g" },
    }), config);
    if (heavy) setTimeout(draw); else draw(); // one panel at a time, so that filtering a large sweep stays quick
  }
  const seeds = fits.some((line) => line.seeds > 0);
  byId("curve-note").textContent = (seeds ? "Bars: 95% interval of the mean over seeds. " : "Bars: one standard error over examples or facts. ")
    + (drawn.length > 1 ? `Line styles: ${drawn.slice(0, 5).map((g, i) => `${g} ${DASHES[i]}`).join(", ")}. ` : "")
    + (cut ? `Only the first ${MANY_LINES} lines are drawn: choose a model, a method or a setting.` : "");
}

// ---------------------------------------------------------------- table
const BASE = ["model", "method", "setting", "regularizer", "seed", "n_edits", "reliability_token_accuracy", "generalization_token_accuracy", "locality_token_accuracy", "edit_retention", "task_score", "task_score_release", "task_retention", "perplexity", "pareto"];
const TITLES = { n_edits: "edits", reliability_token_accuracy: "reliability", generalization_token_accuracy: "generalization", locality_token_accuracy: "locality", edit_retention: "editing kept", task_score: "mean task score", task_score_release: "mean task score (release)", task_retention: "tasks kept", pareto: "front" };
const TEXT = new Set(["regularizer", "model", "method", "setting", "cell"]);
const FIXED = new Set(["regularizer", "n_edits", "edit_retention", "task_score", "task_retention", "pareto"]);
let sorting = { column: null, down: true }, rowsShown = PAGE;

function columns() {
  const edited = cells.filter((c) => !isUnedited(c));
  const wanted = byId("wide").checked ? unique([...BASE, ...data.columns]).filter((c) => c !== "k" && c !== "batch_size") : BASE;
  const useful = wanted.filter((name) => FIXED.has(name) || unique(edited.map((c) => c[name])).length > 1 || (byId("wide").checked && edited.some((c) => c[name] !== null)));
  return unique(["regularizer", ...useful]);
}
const textOf = (c, name) => (name === "regularizer" ? (isUnedited(c) ? "unedited" : label(c)) : name === "setting" ? settingOf(c) : shown(c[name], name));

function tableRows() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = cells.filter((c) => visible(c) && words.every((word) => `${groupOf(c)} ${describe(c)} ${c.cell}`.toLowerCase().includes(word)));
  const { column, down } = sorting;
  if (!column) return rows;
  const value = (c) => (typeof c[column] === "string" && Number.isNaN(Number(c[column])) ? c[column] : c[column] === null ? null : Number(c[column]));
  const order = (a, b) => (typeof a === "string" ? String(a).localeCompare(String(b)) : a - b);
  const then = column === "regularizer" ? (a, b) => (a.k ?? 101) - (b.k ?? 101) : () => 0;
  return [...rows].sort((a, b) => {
    const [u, v] = [value(a), value(b)];
    if (u === null || v === null) return (u === null) - (v === null); // missing last, whichever way
    return (order(u, v) || then(a, b)) * (down ? -1 : 1);
  });
}

function drawTable() {
  const names = columns(), rows = tableRows(), count = printing ? PRINTED : rowsShown;
  const head = names.map((name) => {
    const mark = sorting.column === name ? (sorting.down ? " ▼" : " ▲") : "";
    const sort = () => { sorting = { column: name, down: sorting.column === name ? !sorting.down : !TEXT.has(name) }; drawTable(); };
    const state = sorting.column === name ? (sorting.down ? "descending" : "ascending") : "none";
    return element("th", { scope: "col", class: TEXT.has(name) ? "text" : null, "aria-sort": state }, element("button", { type: "button", onclick: sort, tabindex: "0" }, (TITLES[name] ?? name.replaceAll("_", " ")) + mark));
  });
  document.querySelector("#table thead").replaceChildren(element("tr", {}, ...head));
  document.querySelector("#table tbody").replaceChildren(...rows.slice(0, count).map((c) =>
    element("tr", { class: isUnedited(c) ? "unedited" : null }, ...names.map((name) => element("td", { class: TEXT.has(name) ? "text" : null }, textOf(c, name))))));
  byId("table-count").textContent = `${rows.length} ${rows.length === 1 ? "cell" : "cells"}`;
  byId("more").hidden = rows.length <= count;
}

// ---------------------------------------------------------------- outputs
const withOutputs = cells.filter((c) => data.examples.outputs[c.cell]);

function drawExamples() {
  const task = byId("example-task").value;
  const prompts = data.examples.prompts[task] ?? {};
  const left = withOutputs.find((c) => c.cell === byId("example-a").value);
  const base = cells.find((c) => isUnedited(c) && left && c.model === left.model);
  const sides = unique([base, left, withOutputs.find((c) => c.cell === byId("example-b").value)].filter(Boolean));
  const indices = Object.keys(prompts).map(Number).sort((a, b) => a - b);
  byId("example-list").replaceChildren(...indices.slice(0, EXAMPLES).map((index) => {
    const [prompt, gold] = prompts[index];
    const text = prompt.length > 420 ? element("details", {}, element("summary", {}, `… ${prompt.slice(-320)}`), prompt) : prompt;
    return element("article", { class: "example" }, element("div", { class: "prompt" }, text), element("p", { class: "gold" }, element("b", {}, "Right answer: "), gold === "" ? "(none)" : gold.length > 600 ? `${gold.slice(0, 600)} …` : gold),
      element("div", { class: "sides" }, ...sides.map((c) => {
        const [output, score] = data.examples.outputs[c.cell]?.[task]?.[index] ?? [null, null];
        const mark = score === null ? "" : score >= 1 ? " ✓" : score <= 0 ? " ✗" : ` · ${shown(score)}`;
        const title = isUnedited(c) ? "unedited" : `${label(c)}, ${c.n_edits} edits`;
        return element("div", { class: "side" }, element("h4", {}, title, element("span", { class: score >= 1 ? "right" : score === 0 ? "wrong" : "" }, mark)), element("p", {}, output === null ? "(no output)" : output.trim() === "" ? "(empty)" : output));
      })));
  }));
  const rest = Math.max(0, indices.length - EXAMPLES);
  byId("example-note").textContent = (indices.length ? "" : "No outputs were kept. ") + (rest ? `${rest} more of this task in outputs/. ` : "")
    + (data.examples.left_out ? `${data.examples.left_out} cells' outputs are in outputs/ only.` : "");
}

function buildExamples() {
  const length = (task) => {
    const texts = withOutputs.flatMap((c) => Object.values(data.examples.outputs[c.cell][task] ?? {}).map(([text]) => text));
    return texts.join("").length / Math.max(1, texts.length);
  };
  const wordiest = Object.keys(data.examples.prompts).reduce((best, task) => (best && length(best) >= length(task) ? best : task), null);
  fill(byId("example-task"), Object.keys(data.examples.prompts).map((task) => [task, task]), wordiest); // shows most
  const options = withOutputs.filter((c) => !isUnedited(c)).map((c) => [c.cell, describe(c)]);
  const first = withOutputs.find((c) => !isUnedited(c) && c.regularizer === "none");
  const like = (c) => first && groupOf(c) === groupOf(first) && c.seed === first.seed;
  const rects = withOutputs.filter((c) => c.regularizer === "rect" && like(c));
  const second = rects.find((c) => c.k === 40) ?? rects[0] ?? withOutputs.find((c) => c !== first && !isUnedited(c));
  fill(byId("example-a"), options, first?.cell);
  fill(byId("example-b"), options, second?.cell);
}

// ---------------------------------------------------------------- facts
function drawFacts() {
  const map = data.facts[byId("fact-cell").value];
  const names = data.fact_names[cells.find((c) => c.cell === byId("fact-cell").value)?.seed] ?? [];
  if (!map) { byId("fact-map").replaceChildren("No per-fact scores."); return; }
  const head = element("tr", {}, element("th", { class: "text" }, "fact"), ...map.points.map((p) => element("th", {}, `${p} edits`)));
  const kind = (v) => (v === null ? null : v >= 1 ? "held" : v <= 0 ? "lost" : "partly");
  const body = map.values.map((line, i) => element("tr", {}, element("td", { class: "text fact" }, `${i + 1}${names[i] ? `. ${names[i]}` : ""}`), ...line.map((v) => element("td", { class: kind(v) }, v === null ? "" : shown(v)))));
  byId("fact-map").replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}

// ---------------------------------------------------------------- all of it
function drawAll() { drawLegend(); drawScatter(); drawCurves(); drawHeat(); drawTable(); }

function start() {
  const has = ([name]) => cells.some((c) => !isUnedited(c) && Number.isFinite(c[name]));
  const y = has(["task_retention"]) ? "task_retention" : "task_score";
  fill(byId("scatter-x"), X_AXES.filter((axis) => has(axis) || axis[0] === "edit_retention"), has(["edit_retention"]) ? "edit_retention" : "edit_score");
  fill(byId("scatter-y"), Y_AXES.filter((axis) => has(axis) || axis[0] === y), y);
  fill(byId("curve-metric"), METRICS.filter(([name]) => curves.some((line) => line.name.endsWith(`/${name}`))), "score");
  fill(byId("heat-metric"), HEAT.filter(([name]) => cells.some((c) => data.tasks.some((task) => Number.isFinite(c[`${task}_${name}`])))), "score");
  fill(byId("fact-cell"), cells.filter((c) => data.facts[c.cell]).map((c) => [c.cell, describe(c)]));
  buildFilters();
  buildExamples();
  for (const id of ["scatter-x", "scatter-y"]) byId(id).addEventListener("change", drawScatter);
  for (const id of ["example-task", "example-a", "example-b"]) byId(id).addEventListener("change", drawExamples);
  byId("curve-metric").addEventListener("change", drawCurves);
  byId("heat-metric").addEventListener("change", drawHeat);
  byId("fact-cell").addEventListener("change", drawFacts);
  byId("find").addEventListener("input", () => { rowsShown = PAGE; drawTable(); });
  byId("wide").addEventListener("change", drawTable);
  byId("more").addEventListener("click", () => { rowsShown += 10 * PAGE; drawTable(); });
  drawAll(); drawExamples(); drawFacts();
  byId("scatter").on("plotly_click", (event) => {
    const cell = event.points[0]?.customdata;
    if (!data.examples.outputs[cell]) return;
    byId("example-b").value = cell;
    drawExamples();
    byId("examples").scrollIntoView();
  });
  dark.addEventListener("change", drawAll);
  let opened = [];
  addEventListener("beforeprint", () => {
    printing = true;
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const node of opened) node.open = true;
    drawAll();
    Plotly.relayout("scatter", { width: 680, height: 400 });
    Plotly.relayout("heat", { width: 680 });
    for (const node of document.querySelectorAll("#curve-grid .plot")) Plotly.relayout(node, { width: 222, height: 190 });
  });
  addEventListener("afterprint", () => {
    printing = false;
    for (const node of opened) node.open = false;
    Plotly.relayout("scatter", { width: null, height: null });
    Plotly.relayout("heat", { width: null });
    drawAll();
  });
  document.documentElement.dataset.ready = "yes";
}
start();
