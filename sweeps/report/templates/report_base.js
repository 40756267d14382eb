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

// ---------------------------------------------------------------- cells
const cells = data.cells.map((line) => Object.fromEntries(data.columns.map((name, i) => [name, line[i]])));
const owners = data.curves.groups.map((values) => Object.fromEntries(data.curves.ids.map((id, i) => [id, values[i]])));
const mean = (values) => { const known = values.filter(Number.isFinite); return known.length ? known.reduce((a, b) => a + b) / known.length : null; };
const unique = (values) => [...new Set(values)];
// Texts of a cell are made once: ten thousand cells ask for them at every change.
const label = (c) => (c.itsLabel ??= c.k === null ? c.regularizer : `${c.regularizer} ${c.k}`);
const settingOf = (c) => (c.itsSetting ??= c.batch_size > 1 ? `${c.setting} b=${c.batch_size}` : c.setting);
const isUnedited = (c) => c.setting === "unedited";
const groupOf = (c) => (c.itsGroup ??= [c.model, c.method, settingOf(c)].join(" · "));
const seedless = new Set(cells.map((c) => c.seed)).size < 2;
const edited = cells.filter((c) => !isUnedited(c));
const groups = unique(edited.map(groupOf));
const describe = (c) => {
  const of = groups.length < 2 ? "" : isUnedited(c) ? `${c.model} · ` : `${groupOf(c)} · `;
  return of + (isUnedited(c) ? "unedited" : `${label(c)}${seedless ? "" : ` · seed ${c.seed}`}`);
};
const exemplars = new Map(); // one cell of each regularizer and k
for (const c of edited) if (!exemplars.has(label(c))) exemplars.set(label(c), c);
const labels = [...exemplars.keys()];
const kinds = [...cells.reduce((found, c) => { // cells that differ in nothing but the seed
  const key = `${groupOf(c)}|${label(c)}|${c.n_edits}`;
  if (found.has(key)) found.get(key).push(c); else found.set(key, [c]);
  return found;
}, new Map()).values()];

// ---------------------------------------------------------------- what is chosen
const FILTERS = [["model", (c) => c.model], ["method", (c) => c.method], ["setting", settingOf]];
const chosen = {}, hidden = new Set();
const inFilters = (c) => FILTERS.every(([name, of]) => !chosen[name] || of(c) === chosen[name]);
const visible = (c) => (isUnedited(c) ? !chosen.model || c.model === chosen.model : !hidden.has(label(c)) && inFilters(c));

// ---------------------------------------------------------------- text and elements
const WHOLE = new Set(["seed", "n_edits", "batch_size", "retention_tasks"]);
function shown(value, name) {
  if (value === null || value === undefined || value === "") return "–";
  if (typeof value !== "number") return value === true ? "yes" : value === false ? "" : String(value);
  if (WHOLE.has(name)) return String(value);
  const size = Math.abs(value);
  return size >= 1e6 ? value.toExponential(1) : size >= 10 ? value.toFixed(1) : size > 0 && size < 0.001 ? value.toExponential(1) : value.toFixed(3);
}
const escaped = (text) => String(text).replace(/[&<>"']/g, (c) => `&#${c.charCodeAt(0)};`);

const element = (tag, attributes = {}, ...children) => made(document.createElement(tag), attributes, children);
const drawing = (tag, attributes, ...children) => made(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function made(node, attributes, children) {
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
  const light = night ? 84 - 28 * place : 62 - 30 * place;
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
// A broken model's perplexity has dozens of digits: beside it, no other could be told apart on a linear axis.
const LOGARITHMIC = new Set(["perplexity"]);
const placed = (name, value) => (LOGARITHMIC.has(name) ? Math.log10(value) : value); // where plotly puts it

// A logarithmic axis around the values, of at least a factor of 1.7, so that noise does not fill it.
function logAxis(values) {
  const known = values.filter((v) => Number.isFinite(v) && v > 0).map(Math.log10);
  if (!known.length) return { type: "log" };
  const [low, high] = [Math.min(...known), Math.max(...known)], room = Math.max(Math.log10(1.3), 0.06 * (high - low));
  return { type: "log", range: [low - room, high + room], exponentformat: "power", nticks: 6 };
}
const config = { responsive: true, displaylogo: false, displayModeBar: false, doubleClick: "reset" };

