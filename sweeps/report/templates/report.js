// Filters and legend, what is drawn when, and print. Comes last: it starts everything.
const HEAVY_CELLS = 300;
const FOLLOWERS = { // what follows the filters, by the section that it fills
  "filter-bar": drawLegend, tradeoff: drawScatter, paired: drawPaired, ranking: drawRanking,
  curves: drawCurves, "heat-maps": drawHeat, cells: drawTable, facts: drawKept,
};

// ---------------------------------------------------------------- filters and legend
function buildFilters() {
  for (const [name, of] of FILTERS) {
    const values = unique(edited.map(of));
    if (values.length < 2) continue;
    const select = element("select", { id: `filter-${name}`, onchange: () => { chosen[name] = select.value; drawAll(); } });
    fill(select, [["", "all"], ...values.map((v) => [v, v])], "");
    byId("filters").append(element("label", {}, `${name} `, select));
  }
}

function drawLegend() {
  byId("legend").replaceChildren(...labels.map((name) => {
    const c = exemplars.get(name);
    const mark = drawing("svg", { width: 22, height: 10, "aria-hidden": "true" }, drawing("line", { x1: 0, x2: 22, y1: 5, y2: 5, stroke: color(c.regularizer, c.k), "stroke-width": 4 }));
    const toggle = () => { if (!hidden.delete(name)) hidden.add(name); drawAll(); };
    return element("button", { type: "button", "aria-pressed": String(!hidden.has(name)), onclick: toggle }, mark, name);
  }));
}

// ---------------------------------------------------------------- what is drawn when
const heavy = () => cells.length > HEAVY_CELLS && !printing;
let queue = [], waiting = false;

// Later: one step between two frames, so that a large sweep answers at once. The page is ready when nothing waits.
function later(step) {
  queue.push(step);
  if (waiting) return;
  waiting = true;
  document.documentElement.dataset.ready = "no";
  const soon = () => requestAnimationFrame(() => setTimeout(next));
  const next = () => {
    queue.shift()?.();
    waiting = queue.length > 0;
    if (waiting) soon(); else document.documentElement.dataset.ready = "yes";
  };
  soon();
}

function inView(id) {
  const { top, bottom } = (byId(id).closest("section") ?? byId(id)).getBoundingClientRect();
  return top < innerHeight && bottom > 0;
}

function drawAll() {
  queue = [];
  const seen = Object.keys(FOLLOWERS).filter((id) => !heavy() || inView(id));
  for (const [id, draw] of Object.entries(FOLLOWERS)) if (seen.includes(id)) draw(); else later(draw);
}

// ---------------------------------------------------------------- print
let opened = [];
function beforePrint() {
  printing = true;
  drawAll();
  drawExamples();
  opened = [...document.querySelectorAll("details:not([open])")];
  for (const node of opened) node.open = true;
  Plotly.relayout("scatter", { width: 680, height: 400 });
  Plotly.relayout("heat", { width: 680 });
  for (const node of document.querySelectorAll("#curve-grid .plot")) Plotly.relayout(node, { width: 222, height: 190 });
}

function afterPrint() {
  printing = false;
  for (const node of opened) node.open = false;
  Plotly.relayout("scatter", { width: null, height: null });
  Plotly.relayout("heat", { width: null });
  drawAll();
  drawExamples();
}

// ---------------------------------------------------------------- all of it
function start() {
  const has = ([name]) => edited.some((c) => Number.isFinite(c[name]));
  const y = has([data.ability]) ? data.ability : has(["task_retention"]) ? "task_retention" : "task_score";
  fill(byId("scatter-x"), X_AXES.filter((axis) => has(axis) || axis[0] === "edit_retention"), has(["edit_retention"]) ? "edit_retention" : "edit_score");
  fill(byId("scatter-y"), Y_AXES.filter((axis) => has(axis) || axis[0] === y), y);
  fill(byId("curve-metric"), METRICS.filter(([name]) => data.curves.names.some((line) => line.endsWith(`/${name}`))), "score");
  fill(byId("heat-metric"), HEAT.filter(([name]) => cells.some((c) => data.tasks.some((task) => Number.isFinite(c[`${task}_${name}`])))), "score");
  fill(byId("fact-cell"), factCells.map((c) => [c.cell, describe(c)]));
  buildFilters();
  buildExamples();
  for (const id of ["scatter-x", "scatter-y"]) byId(id).addEventListener("change", drawScatter);
  for (const id of ["example-task", "example-a", "example-b"]) byId(id).addEventListener("change", () => { examplesShown = EXAMPLES; drawExamples(); });
  byId("more-examples").addEventListener("click", () => { examplesShown += 5 * EXAMPLES; drawExamples(); });
  byId("curve-metric").addEventListener("change", drawCurves);
  byId("heat-metric").addEventListener("change", drawHeat);
  byId("fact-cell").addEventListener("change", drawFacts);
  byId("find").addEventListener("input", () => { rowsShown = PAGE; drawTable(); });
  byId("wide").addEventListener("change", drawTable);
  byId("more").addEventListener("click", () => { rowsShown += 10 * PAGE; drawTable(); });
  document.documentElement.dataset.ready = "yes"; // unless something waits
  drawAll(); drawExamples(); drawFacts();
  dark.addEventListener("change", drawAll);
  addEventListener("beforeprint", beforePrint);
  addEventListener("afterprint", afterPrint);
}
start();
