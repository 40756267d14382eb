// The table of all cells: sorted, searched, a page of lines at a time.
const PAGE = 100, PRINTED = 2000;
const BASE = ["model", "method", "setting", "regularizer", "seed", "n_edits", "reliability_token_accuracy", "generalization_token_accuracy", "locality_token_accuracy", "edit_retention", "task_score", "task_score_release", "task_retention", "drift", "perplexity", "pareto", "stopped"];
const TITLES = { n_edits: "edits", reliability_token_accuracy: "reliability", generalization_token_accuracy: "generalization", locality_token_accuracy: "locality", edit_retention: "editing kept", task_score: "mean task score", task_score_release: "mean task score (release)", task_retention: "tasks kept", pareto: "front", stopped: "stopped by" };
const TEXT = new Set(["regularizer", "model", "method", "setting", "cell", "stopped", "ability"]);
const FIXED = new Set(["regularizer", "n_edits", "edit_retention", "task_score", "task_retention", "drift", "perplexity", "pareto"]);
let sorting = { column: null, down: true }, rowsShown = PAGE;

const several = new Map(); // columns in which the edited cells differ: looked at once, on first use
function differs(name) {
  if (!several.has(name)) several.set(name, edited.some((c) => c[name] !== edited[0][name]));
  return several.get(name);
}

function columns() {
  const wide = byId("wide").checked;
  const wanted = wide ? unique([...BASE, ...data.columns]).filter((c) => c !== "k" && c !== "batch_size") : BASE;
  const useful = wanted.filter((name) => FIXED.has(name) || differs(name) || (wide && edited.some((c) => c[name] !== null)));
  return unique(["regularizer", ...useful]);
}
const textOf = (c, name) => (name === "regularizer" ? (isUnedited(c) ? "unedited" : label(c)) : name === "setting" ? settingOf(c) : shown(c[name], name));

function tableRows() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const rows = cells.filter((c) => visible(c) && words.every((word) => (c.itsWords ??= `${groupOf(c)} ${describe(c)} ${c.cell}`.toLowerCase()).includes(word)));
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
    const title = (TITLES[name] ?? name.replaceAll("_", " ")) + mark; // a button is not repeated on the next page
    return element("th", { scope: "col", class: TEXT.has(name) ? "text" : null, "aria-sort": state }, printing ? title : element("button", { type: "button", onclick: sort, tabindex: "0" }, title));
  });
  document.querySelector("#table thead").replaceChildren(element("tr", {}, ...head));
  document.querySelector("#table tbody").replaceChildren(...rows.slice(0, count).map((c) =>
    element("tr", { class: isUnedited(c) ? "unedited" : null }, ...names.map((name) => element("td", { class: TEXT.has(name) ? "text" : null }, textOf(c, name))))));
  byId("table-count").textContent = `${rows.length} ${rows.length === 1 ? "cell" : "cells"}`;
  byId("more").hidden = rows.length <= count;
}

