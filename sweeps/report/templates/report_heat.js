// The heat map of the report; a line per regularizer, a column per task.
const HEAT = [["score", "score"], ["score_release", "score as in the release"], ["retention", "score relative to the unedited model"], ["answered", "share answered"]];
const HEAT_LINES = 40;

function drawHeat() {
  const metric = byId("heat-metric").value, relative = metric === "retention";
  const named = new Map(); // cells that differ in nothing but the seed are one line
  const seen = kinds.filter(([c]) => visible(c)), changed = seen.map(([c]) => c).filter((c) => !isUnedited(c));
  const differ = FILTERS.filter(([, of]) => unique(changed.map(of)).length > 1); // the others say nothing
  const narrow = byId("heat").clientWidth < 560;
  for (const of of seen) {
    const [c] = of;
    const where = differ.filter(([name]) => name === "model" || !isUnedited(c)).map(([, value]) => value(c));
    const name = [where.join(" · "), isUnedited(c) ? "unedited" : label(c)].filter(Boolean).map(escaped).join(narrow ? "<br>" : " · ");
    if (named.has(name)) named.get(name).push(...of); else named.set(name, [...of]);
  }
  const lines = [...named].slice(0, HEAT_LINES);
  const z = lines.map(([, of]) => data.tasks.map((task) => mean(of.map((c) => c[`${task}_${metric}`]))));
  const flat = z.flat().filter((v) => v !== null);
  const height = 90 + (narrow && differ.length ? 32 : 24) * lines.length;
  byId("heat").style.height = `${height}px`;
  Plotly.react("heat", [{
    type: "heatmap", z, x: data.tasks.map((task) => task.replaceAll("_", " ")), y: lines.map(([name]) => name), xgap: 2, ygap: 2,
    text: z.map((line) => line.map((v) => (v === null ? "" : relative ? `${Math.round(100 * v)}%` : v.toFixed(2)))), texttemplate: "%{text}", textfont: { size: narrow ? 9 : 12 },
    hovertemplate: "%{y}<br>%{x}: %{z:.3f}<extra></extra>", colorscale: "Cividis", zmin: 0, zmax: Math.max(relative ? 1 : 0.01, ...flat),
    hoverongaps: false, showscale: false,
  }], theme({ height, margin: { l: 40, r: 10, t: 10, b: 60 }, xaxis: { tickangle: narrow ? -90 : -35, showgrid: false, dtick: 1 }, yaxis: { autorange: "reversed", showgrid: false, dtick: 1, tickfont: { size: narrow ? 10 : 11 } } }), config);
  byId("heat-note").textContent = "Last checkpoint of each cell, mean over seeds. Light is high. Empty: not measured" + (relative ? ", or the unedited model is not better than chance. " : ". ")
    + (named.size > HEAT_LINES ? `The first ${HEAT_LINES} of ${named.size} lines: choose a model, a method or a setting.` : "");
}
