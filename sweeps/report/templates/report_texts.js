// Outputs side by side, and which facts hold until when.
const EXAMPLES = 8;
// ---------------------------------------------------------------- outputs
const withOutputs = cells.filter((c) => data.examples.outputs[c.cell]);

let examplesShown = EXAMPLES;

function drawExamples() {
  const chosenTask = byId("example-task").value;
  const left = withOutputs.find((c) => c.cell === byId("example-a").value);
  const base = cells.find((c) => isUnedited(c) && left && c.model === left.model);
  const sides = unique([base, left, withOutputs.find((c) => c.cell === byId("example-b").value)].filter(Boolean));
  const tasks = printing ? Object.keys(data.examples.prompts) : [chosenTask]; // paper has no selector
  byId("example-list").replaceChildren(...tasks.flatMap((task) => {
    const prompts = promptsOf(task, sides).slice(0, printing ? EXAMPLES : examplesShown);
    return [...(printing ? [element("h3", {}, task.replaceAll("_", " "))] : []), ...prompts.map(([index, [prompt, gold]]) => example(task, index, prompt, gold, sides))];
  }));
  const there = promptsOf(chosenTask, sides).length;
  byId("more-examples").hidden = there <= examplesShown;
  byId("example-note").textContent = (there ? "" : "No outputs were kept. ") + (there > examplesShown ? `${examplesShown} of ${there} examples of this task. ` : "")
    + (data.examples.left_out ? `${data.examples.left_out} cells' outputs are in outputs/ only.` : "");
}

// [index, [prompt, gold]] of what any of the chosen edited cells was asked: other seeds edit other facts.
function promptsOf(task, sides) {
  const asked = (index) => sides.some((c) => !isUnedited(c) && data.examples.outputs[c.cell]?.[task]?.[index]);
  return Object.entries(data.examples.prompts[task] ?? {}).filter(([index]) => asked(index) || !sides.some((c) => !isUnedited(c))).sort(([a], [b]) => a - b);
}

// One prompt with its right answer and what each side's cell answered.
function example(task, index, prompt, gold, sides) {
  const text = prompt.length > 420 ? element("details", {}, element("summary", {}, `… ${prompt.slice(-320)}`), prompt) : prompt;
  const answers = sides.map((c) => {
    const [output, score] = data.examples.outputs[c.cell]?.[task]?.[index] ?? [null, null];
    const mark = score === null ? "" : score >= 1 ? " ✓" : score <= 0 ? " ✗" : ` · ${shown(score)}`;
    const title = isUnedited(c) ? "unedited" : `${label(c)}, ${c.n_edits} edits`;
    const grade = element("span", { class: score === null ? "" : score >= 1 ? "right" : score <= 0 ? "wrong" : "" }, mark);
    return element("div", { class: "side" }, element("h4", {}, title, grade), element("p", {}, output === null ? "(no output)" : output.trim() === "" ? "(empty)" : output));
  });
  const right = gold === "" ? "(none)" : gold.length > 600 ? `${gold.slice(0, 600)} …` : gold;
  return element("article", { class: "example" }, element("div", { class: "prompt" }, text), element("p", { class: "gold" }, element("b", {}, "Right answer: "), right), element("div", { class: "sides" }, ...answers));
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

// A click on a point of the trade-off.
function showOutputs(event) {
  const cell = event.points[0]?.customdata;
  if (!data.examples.outputs[cell]) return;
  byId("example-b").value = cell;
  drawExamples();
  byId("examples").scrollIntoView();
}

// ---------------------------------------------------------------- facts
const factCells = cells.filter((c) => data.facts[c.cell]);
const KEPT_LINES = 100;
const kindOf = (v) => (v === null ? null : v >= 1 ? "held" : v <= 0 ? "lost" : "partly");

// A fact's values over the checkpoints -> "held", or since how many edits it is not: [points, values] of one cell.
function fate(points, values) {
  const last = values.findLastIndex((v) => v !== null), held = values.findLastIndex((v) => v >= 1);
  if (last < 0 || held === last) return last < 0 ? "unknown" : "held";
  return held < 0 ? "never" : points.find((_, i) => i > held && values[i] !== null);
}

function drawFacts() {
  const cell = byId("fact-cell").value, map = data.facts[cell];
  const one = factCells.find((c) => c.cell === cell), names = data.fact_names[`${one?.seed} ${one?.model}`] ?? data.fact_names[one?.seed] ?? [];
  if (!map) { byId("fact-map").replaceChildren("No per-fact scores."); return; }
  const fates = map.values.map((line) => fate(map.points, line)), called = (i) => `${i + 1}${names[i] ? ` (${names[i]})` : ""}`;
  const those = (wanted) => fates.flatMap((one, i) => (wanted(one) ? [called(i)] : []));
  const lost = map.points.map((point) => [point, those((one) => one === point)]).filter(([, facts]) => facts.length);
  const never = those((one) => one === "never");
  byId("fact-note").textContent = `After ${map.points.at(-1)} edits ${fates.filter((one) => one === "held").length} of ${fates.filter((one) => one !== "unknown").length} facts hold. `
    + lost.map(([point, facts]) => `Held before and lost at ${point} edits: ${facts.join("; ")}. `).join("")
    + (never.length ? `Never whole at a checkpoint: ${never.join("; ")}. ` : "");
  const head = element("tr", {}, element("th", { class: "text" }, "fact"), ...map.points.map((p) => element("th", {}, `${p} edits`)));
  const body = map.values.map((line, i) => element("tr", {}, element("td", { class: "text fact" }, `${i + 1}${names[i] ? `. ${names[i]}` : ""}`), ...line.map((v) => element("td", { class: kindOf(v) }, v === null ? "" : shown(v)))));
  byId("fact-map").replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
}

// Of every cell: how many of the facts edited so far hold at each checkpoint, and how many were lost on the way.
function drawKept() {
  const seen = factCells.filter(visible), points = unique(seen.flatMap((c) => data.facts[c.cell].points)).sort((a, b) => a - b);
  const head = ["cell", ...points.map((p) => `${p} edits`), "lost on the way"].map((text, i) => element("th", { class: i ? null : "text" }, text));
  const body = seen.slice(0, KEPT_LINES).map((c) => {
    const map = data.facts[c.cell];
    const count = (point) => {
      const values = map.values.map((line) => line[map.points.indexOf(point)] ?? null).filter((v) => v !== null);
      return values.length ? `${values.filter((v) => v >= 1).length} of ${values.length}` : "–";
    };
    const lost = map.values.filter((line) => typeof fate(map.points, line) === "number").length;
    return element("tr", {}, ...[describe(c), ...points.map(count), lost].map((text, i) => element("td", { class: i ? null : "text" }, text)));
  });
  byId("kept").replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...body)));
  byId("kept-note").textContent = "Facts that hold whole, of those edited so far. " + (seen.length > KEPT_LINES ? `The first ${KEPT_LINES} of ${seen.length} cells: choose a model, a method or a setting.` : "");
}
