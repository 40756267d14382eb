// RECT against its controls pair by pair, and the order of methods. The sentences come from Python.
const BLOCKS = 12, PRINTED_BLOCKS = 200;
const signed = (value) => (value === null ? "–" : `${value > 0 ? "+" : ""}${value.toFixed(3)}`);
const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(0)}%`);
const between = (low, high, text) => (low === null ? "" : ` (${text(low)} to ${text(high)})`);

// An interval from low to high around its middle on a scale from -> to, with a line at zero.
function bar(value, low, high, from, to) {
  if (value === null) return "";
  const x = (v) => 2 + (116 * (v - from)) / (to - from || 1);
  const parts = [drawing("line", { class: "zero", x1: x(0), x2: x(0), y1: 0, y2: 14 }), drawing("circle", { cx: x(value), cy: 7, r: 3.5 })];
  if (low !== null) parts.push(drawing("line", { x1: x(low), x2: x(high), y1: 7, y2: 7 }));
  return drawing("svg", { class: "bar", width: 120, height: 14, "aria-hidden": "true" }, ...parts);
}

function listed(titles, lines) {
  const cell = (tag, child, i) => element(tag, { class: i ? null : "text", ...(tag === "th" ? { scope: "col" } : {}) }, child);
  const rows = lines.map((line) => element("tr", {}, ...line.map((child, i) => cell("td", child, i))));
  return element("div", { class: "scroll", tabindex: 0 }, element("table", {}, element("thead", {}, element("tr", {}, ...titles.map((title, i) => cell("th", title, i)))), element("tbody", {}, ...rows)));
}

function drawBlocks(id, wanted, draw) {
  const seen = data[id].blocks.filter(wanted), most = printing ? PRINTED_BLOCKS : BLOCKS;
  byId(`${id}-list`).replaceChildren(...seen.slice(0, most).map(draw));
  byId(`${id}-note`).textContent = data[id].note + (seen.length > most ? ` The first ${most} of ${seen.length}: choose a model, a method or a setting.` : "");
}

function drawPaired() {
  drawBlocks("paired", (block) => (block.k === null ? inFilters(block) : visible(block)), (block) => {
    const ends = block.lines.flatMap(([, , , value, low, high]) => [value, low, high].filter((v) => v !== null)).concat(0);
    const [from, to] = [Math.min(...ends), Math.max(...ends)];
    const lines = block.lines.map(([what, mine, other, value, low, high, p, models, units, note]) => [
      what.replaceAll("_", " "), shown(mine), shown(other), signed(value) + between(low, high, signed), bar(value, low, high, from, to), p === null ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3), models, units, note,
    ]);
    const table = listed(["compared", label(block), block.against, "difference (95%)", "", "p", "edited models", "facts or examples", ""], lines);
    return element("article", { class: "compared" }, element("h3", {}, block.title), element("p", {}, block.sentence), ...(lines.length ? [element("details", {}, element("summary", {}, "Numbers"), table)] : []));
  });
}

function drawRanking() {
  const across = FILTERS.filter(([name]) => name !== "method"); // methods are what is ranked
  drawBlocks("ranking", (block) => across.every(([name, of]) => !chosen[name] || of(block) === chosen[name]), (block) => {
    const lines = block.lines.map(([name, rank, balance, low, high, editing, tasks, seeds, p, note]) => [
      name, rank ?? "–", shown(balance) + between(low, high, shown), bar(balance, low, high, 0, 1), shown(editing), percent(tasks), seeds, p === null ? "–" : p < 0.001 ? "< 0.001" : p.toFixed(3), note,
    ]);
    return element("article", { class: "compared" }, element("h3", {}, block.title), element("p", {}, block.sentence),
      listed(["method and regularizer", "rank", "balance (95%)", "", "reliability and generalization", "tasks kept", "seeds", "p (behind the first)", ""], lines));
  });
}
