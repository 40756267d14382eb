// A panel per measurement over the number of edits.
const MANY_LINES = 60;
const METRICS = [["score", "score"], ["score_release", "score as in the release"], ["score_answered", "score of the answered"], ["answered", "share answered"]];

const curves = new Map(data.curves.names.map((name) => [name, []])); // the lines of each measurement
for (const [owner, name, edits, y, half, seeds] of data.curves.lines) curves.get(data.curves.names[name]).push({ owner, x: data.curves.edits[edits], y, half, seeds });
let lastCurves = 0; // number of the last call; panels of an older one are not drawn any more

function drawCurves() {
  const metric = byId("curve-metric").value;
  const panels = [
    ["reliability/token_accuracy", "reliability"], ["generalization/token_accuracy", "generalization"], ["locality/token_accuracy", "locality"],
    ...data.tasks.map((task) => [`${task}/${metric}`, task]), ["perplexity", "perplexity (logarithmic)"], ["drift", "drift"],
  ];
  const wanted = owners.map(visible);
  const named = new Map(panels.map(([name]) => [name, (curves.get(name) ?? []).filter((line) => wanted[line.owner])]));
  const present = panels.filter(([name]) => named.get(name).length);
  const drawn = unique(owners.filter((owner, i) => wanted[i]).map(groupOf));
  const mine = ++lastCurves;
  let cut = false;
  byId("curve-grid").replaceChildren(...present.map(([name]) => element("div", { class: "plot", id: `curve-${name}` })));
  for (const [name, title] of present) {
    const lines = named.get(name);
    cut ||= lines.length > MANY_LINES;
    const draw = () => mine === lastCurves && drawPanel(`curve-${name}`, title, lines, drawn);
    if (heavy()) later(draw); else draw();
  }
  const seeds = present.some(([name]) => named.get(name).some((line) => line.seeds > 1));
  byId("curve-note").textContent = (seeds ? "Bars: 95% interval over edited models. " : "Bars: 95% interval over the facts or examples of one edited model. ")
    + (drawn.length > 1 ? `Line styles: ${drawn.slice(0, 5).map((g, i) => `${g} ${DASHES[i]}`).join(", ")}. ` : "")
    + (cut ? `Only the first ${MANY_LINES} lines are drawn: choose a model, a method or a setting.` : "");
}


// lines: those of one measurement; drawn: the groups, each of which has a line style.
function drawPanel(id, title, lines, drawn) {
  const ability = id === "curve-perplexity" || id === "curve-drift";
  const traces = lines.slice(0, MANY_LINES).map(({ seeds, x, y, half, ...line }) => {
    const owner = owners[line.owner], stroke = color(owner.regularizer, owner.k), up = half.map((v) => v ?? 0);
    const room = ability ? up : up.map((v, i) => Math.max(0, Math.min(v, 1 - y[i]))); // a score ends at 1, anything at 0
    const sure = (i) => (half[i] === null ? "" : seeds ? ` (${shown(y[i] - up[i])} to ${shown(y[i] + up[i])})` : ` ± ${shown(up[i])}`);
    return {
      type: "scatter", mode: "lines+markers", x, y, hoverinfo: "text",
      hovertext: x.map((edits, i) => `<b>${escaped(label(owner))}</b><br>${escaped(groupOf(owner))}<br>${edits} edits: ${shown(y[i])}${sure(i)}`),
      line: { color: stroke, width: 2, dash: DASHES[drawn.indexOf(groupOf(owner)) % DASHES.length] }, marker: { color: stroke, symbol: symbol(owner.regularizer), size: 6 },
      error_y: { type: "data", symmetric: false, array: room, arrayminus: up.map((v, i) => Math.min(v, y[i])), thickness: 1, width: 2, color: stroke, visible: lines.length <= 12 },
    };
  });
  const ticks = unique(lines.flatMap((line) => line.x)).sort((a, b) => a - b);
  const upright = LOGARITHMIC.has(id.replace("curve-", "")) ? logAxis(lines.flatMap((line) => line.y)) : { rangemode: "tozero", nticks: 5, tickformat: ".4~g" };
  Plotly.newPlot(id, traces, theme({
    title: { text: escaped(title.replaceAll("_", " ")), font: { size: 13 }, x: 0.02, xanchor: "left", y: 0.97 }, margin: { l: 40, r: 10, t: 30, b: 36 },
    xaxis: { title: { text: "edits", standoff: 4 }, ...(ticks.length <= 7 ? { tickvals: ticks } : {}) },
    yaxis: upright,
  }), config);
}
