// The trade-off: a point per cell, the front of each group, the unedited models as lines.
const PILED = 200, SINGLE = 500, LABELLED = 24;
const LOWER = new Set(["perplexity", "drift"]); // is better: such an axis is turned over, so that up is better on each
const X_AXES = [
  ["edit_retention", "editing kept (token accuracy)"], ["edit_retention_preference", "editing kept (preference)"],
  ["edit_score", "reliability and generalization"], ["reliability_token_accuracy", "reliability"],
  ["generalization_token_accuracy", "generalization"], ["locality_token_accuracy", "locality"],
];
const Y_AXES = [
  ["task_retention", "tasks kept"], ["task_score", "mean task score"], ["task_score_release", "mean task score (release)"],
  ...data.tasks.map((task) => [`${task}_score`, task]), ["perplexity", "perplexity (lower is better, logarithmic)"], ["drift", "drift (lower is better)"],
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
  const at = (c, key) => placed(key, c[key]);
  const span = (key) => Math.max(...points.map((c) => at(c, key))) - Math.min(...points.map((c) => at(c, key))) || 1;
  const [wide, high] = [span(x), span(y)], found = [];
  for (const c of [...points].sort((a, b) => labels.indexOf(label(a)) - labels.indexOf(label(b)))) {
    const pile = found.find(([first]) => Math.abs(at(first, x) - at(c, x)) < 0.012 * wide && Math.abs(at(first, y) - at(c, y)) < 0.02 * high);
    if (pile) pile.push(c); else found.push([c]);
  }
  return new Map(found.flatMap((pile) => pile.map((c) => [c, pile])));
}

// Which piles are named: from above down, where there is room above or below the mark, and no twin near. across, up: axes' pixels.
// Of several models each name says whose it is.
function named(piled, x, y, across, up) {
  const several = unique([...piled.keys()].map((c) => c.model)).length > 1, told = (c) => (several ? `${c.model}: ${label(c)}` : label(c));
  const height = (c) => (LOWER.has(y) ? -1 : 1) * placed(y, c[y]);
  const all = unique([...piled.values()]).sort(([a], [b]) => height(b) - height(a)), found = new Map(), where = (key) => all.map(([c]) => placed(key, c[key]));
  const size = (key, pixels) => (pixels * 0.9) / (Math.max(...where(key)) - Math.min(...where(key)) || 1);
  const marks = all.map((pile) => ({ pile, x: placed(x, pile[0][x]) * size(x, across), y: height(pile[0]) * size(y, up) })), taken = [];
  for (const { pile, ...at } of marks) {
    const text = unique(pile.map(told)).join(", "), half = 3.6 * text.length;
    const aside = (other) => Math.abs(other.x - at.x), twin = (other) => other.text === text && aside(other) < 120 && Math.abs(other.y - at.y) < 60;
    const crowded = (side) => marks.some((other) => other.pile !== pile && aside(other) < half + 6 && side * (other.y - at.y) > 4 && side * (other.y - at.y) < 24);
    const below = crowded(1), y = below ? at.y - 34 : at.y; // of the text, were it above
    if (below && crowded(-1)) continue;
    if (taken.some((other) => twin(other) || (aside(other) < other.half + half && Math.abs(other.y - y) < 16))) continue;
    taken.push({ ...at, y, half, text });
    found.set(pile[0], { text, below });
  }
  return found;
}

// Cells that differ in nothing but the seed as one, with the means of what the scatter shows.
function overSeeds(alike, axes) {
  const averaged = unique([...axes, "reliability_token_accuracy", "generalization_token_accuracy", "locality_token_accuracy", "edit_retention", "task_retention", "task_score"]);
  return alike.map((of) => ({ ...of[0], ...Object.fromEntries(averaged.map((name) => [name, mean(of.map((c) => c[name]))])), seed: of.map((c) => c.seed).join(", ") }));
}

function drawScatter() {
  const [x, y] = [byId("scatter-x").value, byId("scatter-y").value];
  const lower = LOWER.has(y);
  const share = (name) => (name.includes("retention") ? ".0%" : ".4~g");
  const seen = kinds.filter(([c]) => !isUnedited(c) && visible(c)); // a kind is seen as a whole
  const alike = seen.map((of) => of.filter((c) => Number.isFinite(c[x]) && Number.isFinite(c[y]))).filter((of) => of.length);
  const each = alike.flat();
  const known = each.length > SINGLE ? overSeeds(alike, [x, y]) : each;
  const piled = known.length <= PILED ? piles(known, x, y) : new Map(known.map((c) => [c, [c]]));
  const rings = (c) => { const pile = piled.get(c); return pile.length - 1 - pile.indexOf(c); }; // how many lie above it
  const texts = known.length <= LABELLED ? named(piled, x, y, byId("scatter").clientWidth - 90, byId("scatter").clientHeight - 70) : new Map();
  const names = (c) => unique(piled.get(c).map(label)).join(", ");
  const traces = labels.filter((name) => known.some((c) => label(c) === name)).map((name) => {
    const mine = known.filter((c) => label(c) === name);
    const { regularizer, k } = mine[0];
    const size = known.length <= PILED ? mine.map((c) => 11 + 7 * rings(c)) : known.length > SINGLE ? 6 : 11;
    return {
      type: "scatter", name: escaped(name), x: mine.map((c) => c[x]), y: mine.map((c) => c[y]), customdata: mine.map((c) => c.cell),
      mode: known.length <= LABELLED ? "markers+text" : "markers", text: mine.map((c) => escaped(texts.get(c)?.text ?? "")), textposition: mine.map((c) => (texts.get(c)?.below ? "bottom center" : "top center")), cliponaxis: false,
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
      const mine = known.filter((c) => groupOf(c) === group), most = Math.max(...mine.map((c) => c.n_edits)); // like with like
      const line = front(mine.filter((c) => c.n_edits === most), x, y, lower);
      if (line.length > 1) traces.unshift({ type: "scatter", mode: "lines", hoverinfo: "skip", x: line.map((c) => c[x]), y: line.map((c) => c[y]), line: { dash: "dot", width: 1.5, color: "#8a939e" } });
    }
  }
  const bases = cells.filter((c) => isUnedited(c) && visible(c) && Number.isFinite(c[y]));
  const oneBase = unique(bases.map((c) => shown(c[y]))).length === 1;
  const narrow = byId("scatter").clientWidth < 560;
  const shapes = bases.length > 3 && !oneBase ? [] : bases.map((c) => ({ type: "line", xref: "paper", x0: 0, x1: 1, y0: c[y], y1: c[y], line: { dash: "dash", width: 1, color: "#8a939e" } }));
  const annotations = bases.length > 3 && !oneBase ? [] : (oneBase ? bases.slice(0, 1) : bases).map((c) => ({ xref: "paper", x: 0, y: placed(y, c[y]), text: !oneBase ? `unedited ${escaped(c.model)}` : "unedited", showarrow: false, xanchor: "left", yanchor: "bottom", font: { size: 11 } }));
  const name = (axes, key) => axes.find(([value]) => value === key)[1];
  const axis = LOGARITHMIC.has(y) ? logAxis([...known, ...bases].map((c) => c[y])) : { tickformat: share(y), rangemode: y === "drift" ? "tozero" : "normal" };
  const upright = !lower ? axis : axis.range ? { ...axis, range: [...axis.range].reverse() } : { ...axis, autorange: "reversed" };
  const plot = byId("scatter"), fresh = !plot.on;
  Plotly.react(plot, traces, theme({
    margin: { l: 50, r: narrow ? 20 : 40, t: 20, b: 50 }, shapes, annotations,
    xaxis: { title: { text: name(X_AXES, x) }, tickformat: share(x) }, yaxis: { title: { text: name(Y_AXES, y) }, ...upright },
  }), config);
  if (fresh) plot.on("plotly_click", showOutputs);
  const unknown = seen.flat().length - each.length;
  byId("scatter-note").textContent = (known.length < each.length ? `Means over seeds of ${each.length} cells; choose fewer to see each. ` : "") + (known.length ? "Dotted: the front, cells that no other one of their group beats on both axes. " : "No cell has both values. ")
    + (unknown ? `${unknown} cells lack one of the two values; the table says why. ` : "") + "Click a point for its outputs.";
}

