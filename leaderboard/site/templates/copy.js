"use strict";

// The rows and columns of the current view as text: CSV with names and values of leaderboard.csv, the others as shown.

const copied = document.querySelector(".copied");
const fallback = document.getElementById("copy-text");
const NAMED = { data: ["data set", "dataset_selection"], preset: ["preset", "preset"], victim: ["victim", "victim_selection"], precision: ["precision", "precision"] };

function view() {
  const rows = [...table.tBodies[0].rows].filter((row) => !row.hidden);
  const written = (head) => !head.classList.contains("curve"); // a picture
  const shown = (head) => (head.dataset.place ? !Board.state.get(head.dataset.place) : getComputedStyle(head).display !== "none");
  const heads = [...table.tHead.rows[0].cells].filter((head) => written(head) && shown(head));
  return { rows, heads };
}

function asShown(row, head) {
  const cell = row.cells[head.cellIndex];
  if (head.classList.contains("name")) return row.dataset.defense;
  const note = cell.querySelector("small:not(.published)")?.textContent ?? "";
  const text = cell.firstChild.textContent.trim(); // the number; behind it stand notes
  return note.startsWith("±") ? `${text} ${note}` : note ? `${text} (${note})` : text;
}

const spaced = (text) => text.replace(/\s+/g, " ");
const headOf = (head) => head.dataset.title ?? head.textContent.trim();

function caption({ rows }) { // what is the same in all rows
  const same = Object.keys(NAMED).filter((name) => new Set(rows.map((row) => row.dataset[name])).size === 1 && rows[0].dataset[name]);
  return ["purify-bench leaderboard", ...same.map((name) => `${NAMED[name][0]} ${spaced(rows[0].dataset[name])}`)].join(", ");
}

const BEHIND = ["n", "seeds", "device", "flags"]; // columns of leaderboard.csv that say what is behind a number
const columnOf = (field) => [...table.tHead.rows[0].cells].find((head) => head.dataset.field === field);
const chipsIn = (place) => [...(place?.querySelectorAll(".chip") ?? [])].map((chip) => chip.textContent);

function conditions({ rows }) { // what is behind the numbers, and what makes them doubtful; a line for each fact
  const value = (row, field) => row.cells[columnOf(field)?.cellIndex]?.dataset.sort || "–";
  const counted = (number, what) => `${number} ${what}${number === "1" ? "" : "s"}`;
  const measured = (row) => `n = ${counted(value(row, "n"), "cell")}, ${counted(value(row, "seeds"), "seed")}, ${row.dataset.images} test images, device ${value(row, "device")}`;
  const differing = Object.keys(NAMED).filter((name) => new Set(rows.map((row) => row.dataset[name])).size > 1);
  const label = (row) => [row.dataset.defense, ...differing.map((name) => row.dataset[name])].join(", ");
  const told = (of) => {
    const groups = Map.groupBy(rows, of);
    groups.delete("");
    return [...groups].map(([text, own]) => (own.length === rows.length ? `All rows: ${text}` : `${own.map(label).join("; ")}: ${text}`));
  };
  const everywhere = chipsIn(document.getElementById("shared"));
  return [...told(measured), ...(everywhere.length ? [`All rows: ${everywhere.join(", ")}`] : []), ...told((row) => chipsIn(row.querySelector(".name")).join(", "))].map(spaced);
}

function quoted(text) { // as a spreadsheet reads it, and never runs it
  const safe = /^[=+\-@\t\r]/.test(text) && isNaN(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

function csv({ rows, heads }) {
  const columns = Object.entries(NAMED).map(([name, [, field]]) => [field, (row) => row.dataset[name === "data" ? "selection" : name]]);
  const behind = BEHIND.map(columnOf).filter(Boolean);
  for (const head of [...heads, ...behind].filter((head) => !head.dataset.place)) {
    const of = (row) => row.cells[head.cellIndex];
    columns.push([head.dataset.field, (row) => of(row).dataset.sort]);
    if (head.dataset.field === "cost_seconds") for (const end of ["min", "max"]) columns.push([`cost_seconds_${end}`, (row) => of(row).dataset[end] ?? ""]);
    if (head.dataset.half && rows.some((row) => of(row).dataset.half)) columns.push([head.dataset.half, (row) => of(row).dataset.half ?? ""]);
  }
  const unique = columns.filter(([name], i) => columns.findIndex(([other]) => other === name) === i);
  return [unique.map(([name]) => name), ...rows.map((row) => unique.map(([, value]) => value(row)))].map((line) => `${line.map(quoted).join(",")}\n`).join("");
}

function markdown(shown) {
  const { rows, heads } = shown;
  const safe = (text) => spaced(text).replace(/[\\`*_[\]<>|#!]/g, "\\$&");
  const line = (cells) => `| ${cells.join(" | ")} |`;
  const value = (row, head) => (row.cells[head.cellIndex].classList.contains("best") ? `**${safe(asShown(row, head))}**` : safe(asShown(row, head)));
  const sides = heads.map((head) => (head.classList.contains("number") ? "---:" : "---"));
  return [safe(caption(shown)), "", line(heads.map((head) => safe(headOf(head)))), line(sides), ...rows.map((row) => line(heads.map((head) => value(row, head)))),
    "", conditions(shown).map((text) => `${safe(text)}.`).join("  \n"), ""].join("\n"); // two spaces end a line
}

const TEX = { "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "–": "--", "−": "$-$", "×": "$\\times$", "±": "$\\pm$", "µ": "$\\mu$", "≤": "$\\le$", "<": "\\textless{}", ">": "\\textgreater{}", "|": "\\textbar{}", '"': "{''}" };

function tex(text) { // pdfLaTeX has no letters beyond Latin
  const glyph = (letter) => TEX[letter] ?? (/[&%$#_{}]/.test(letter) ? `\\${letter}` : letter <= "\u017f" ? letter : `U+${letter.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`);
  return [...spaced(text)].map(glyph).join("");
}

const NARROW = 44; // letters across a column of a paper

function latex(shown) {
  const { rows, heads } = shown;
  const value = (row, head) => (row.cells[head.cellIndex].classList.contains("best") ? `\\textbf{${tex(asShown(row, head))}}` : tex(asShown(row, head)));
  const line = (cells) => `${cells.join(" & ")} \\\\`;
  const sides = heads.map((head) => (head.classList.contains("number") || head.classList.contains("rank") ? "r" : "l")).join("");
  const width = heads.reduce((sum, head) => sum + 2 + Math.max(...[headOf(head), ...rows.map((row) => asShown(row, head))].map((text) => text.length)), 0);
  const lines = conditions(shown).flatMap((text) => `${text}.`.match(new RegExp(`\\S.{0,${Math.max(width, NARROW) - 1}}(?= |$)|\\S+`, "gu"))); // a comment would not be printed
  const below = lines.map((text) => `\\multicolumn{${heads.length}}{l}{${tex(text)}} \\\\`);
  return [`% ${tex(caption(shown))}. Needs \\usepackage{booktabs}.`, `\\begin{tabular}{${sides}}`, "\\toprule", line(heads.map((head) => tex(headOf(head)))), "\\midrule",
    ...rows.map((row) => line(heads.map((head) => value(row, head)))), "\\bottomrule", "\\addlinespace", ...below, "\\end{tabular}", ""].join("\n");
}

const FORMATS = { CSV: csv, Markdown: markdown, LaTeX: latex };

async function copy(format) {
  const shown = view();
  if (!shown.rows.length) return (copied.textContent = "No row fits the filters.");
  const text = FORMATS[format](shown);
  try {
    await navigator.clipboard.writeText(text);
    fallback.hidden = true;
    copied.textContent = `Copied as ${format}: ${shown.rows.length} rows, ${shown.heads.length} columns.`;
  } catch { // the browser allows no copying from here
    Object.assign(fallback, { value: text, hidden: false });
    fallback.select();
    copied.textContent = "The browser does not allow copying from this page: the text is marked below.";
  }
}

for (const button of document.querySelectorAll("[data-copy]")) button.addEventListener("click", () => copy(button.dataset.copy));
