"use strict";

// Two rows of the board, attack by attack, with the interval of each difference. Both are of one group: others are not comparable.

const pickers = [...document.querySelectorAll("#compare select")];
const outcome = document.querySelector("#compare .outcome");
const [FIRST, SECOND] = pickers.map((picker) => picker.name);
const NAMES = { mean_accuracy: "mean over attacks", worst_accuracy: "worst attack", clean_accuracy: "clean data" };
const LINES = [...table.tHead.rows[0].cells].filter((head) => head.dataset.field in NAMES || head.classList.contains("at"));
const inPoints = (fraction) => (100 * fraction).toFixed(1).replace("-", "−");

function node(tag, text, attributes = {}) {
  const element = Object.assign(document.createElement(tag), attributes);
  element.textContent = text;
  return element;
}

function offer(picker, candidates) {
  const chosen = Board.state.get(picker.name) ?? "";
  const several = new Set(candidates.map((row) => row.dataset.group)).size > 1;
  const options = candidates.map((row) => new Option(several ? rowName(row).split("|").filter(Boolean).join(" · ") : row.dataset.defense, rowName(row)));
  picker.replaceChildren(new Option("–", ""), ...options);
  picker.value = chosen;
  if (picker.value !== chosen) picker.value = ""; // a row that this board does not have
  return candidates.find((row) => picker.value && rowName(row) === picker.value);
}

// Half the 95 % interval: over seeds, and at least what a test set of n images leaves open; difference.py has the same rule.
const doubt = (accuracy, half, n) => Math.max(Number(half), 1.96 * Math.sqrt((accuracy * (1 - accuracy)) / n));

function difference(head, ours, theirs) {
  const cells = [ours, theirs].map((row) => row.cells[head.cellIndex]);
  if (cells.some((cell) => !cell.dataset.sort)) return null;
  const [a, b] = cells.map((cell) => Number(cell.dataset.sort));
  const [x, y] = cells.map((cell) => doubt(Number(cell.dataset.sort), cell.dataset.half ?? 0, Number(ours.dataset.images)));
  const width = Math.hypot(x, y);
  const apart = Math.abs(a - b) >= width && inPoints(a) !== inPoints(b);
  const once = cells.some((cell) => !cell.dataset.half); // one training each: nothing is known of another one
  return { a, b, width, outcome: !apart ? "same" : once ? "once" : a > b ? "first" : "second" };
}

function line(name, texts, told) {
  const row = node("tr", "");
  row.append(node("th", name, { scope: "row" }), ...texts.map((text, i) => node("td", text, { className: told && i === 2 ? "told" : "" })));
  return row;
}

const times = (ratio) => `${ratio >= 100 ? Math.round(ratio).toLocaleString("en") : ratio.toPrecision(2)}×`;
const textOfCell = (cell) => cell.firstChild.textContent.trim(); // without its range

function costs(ours, theirs, names) { // cost and × training, told apart where their ranks differ
  const value = (row, field) => row.cells[columnOf(field)?.cellIndex];
  const [a, b] = [ours, theirs].map((row) => value(row, "cost_rank")?.dataset.sort);
  const words = !a || !b ? "not ranked" : a === b ? "not told apart" : `${names[Number(a) < Number(b) ? 0 : 1]} is cheaper`;
  return [["cost_seconds", "cost"], ["cost_multiple", "× training"]].map(([field, name]) => {
    const cells = [ours, theirs].map((row) => value(row, field));
    if (cells.some((cell) => !cell?.dataset.sort)) return null;
    const [x, y] = cells.map((cell) => Number(cell.dataset.sort));
    const ratio = x > 0 && y > 0 ? times(x / y) : "–";
    return line(name, [...cells.map(textOfCell), field === "cost_seconds" ? ratio : `${x > y ? "+" : ""}${(x - y).toFixed(2).replace("-", "−")}×`, words], words.endsWith("cheaper"));
  });
}

function compared(ours, theirs) {
  const names = [ours, theirs].map((row) => row.dataset.defense);
  const words = { first: `${names[0]} is higher`, second: `${names[1]} is higher`, once: "outside the interval of the test images", same: "not told apart" };
  const count = { first: 0, second: 0, once: 0, same: 0 };
  const untaken = (head) => ours.cells[head.cellIndex].classList.contains("uncounted");
  const aside = (head) => head.classList.contains("adaptive") || untaken(head);
  const body = LINES.map((head) => {
    const found = difference(head, ours, theirs);
    if (!found) return null;
    const { a, b, width, outcome } = found;
    if (head.classList.contains("at") && !aside(head)) count[outcome] += 1;
    const worst = head.dataset.field === "worst_accuracy"; // of one attack or of two: without an interval
    const signed = `${a > b ? "+" : ""}${inPoints(a - b)}${worst || outcome === "once" ? "" : ` ± ${inPoints(width)}`}`;
    const result = worst ? "no interval" : outcome === "once" ? `${words.once}; one training each` : words[outcome];
    return line(NAMES[head.dataset.field] ?? headOf(head), [inPoints(a), inPoints(b), signed, result], !worst && ["first", "second"].includes(outcome));
  });
  const head = node("tr", "");
  head.append(...["accuracy in %", ...names, "difference", "result"].map((text) => node("th", text, { scope: "col" })));
  const grid = node("table", "", { className: "plain" });
  grid.createTHead().append(head);
  const behindMean = LINES.filter((each) => each.dataset.field in NAMES).length;
  body.splice(behindMean, 0, ...costs(ours, theirs, names));
  grid.createTBody().append(...body.filter(Boolean));
  const oracle = [ours, theirs].some((row) => row.classList.contains("oracle")) ? " One of them was chosen with test labels." : "";
  const others = [["adaptive ones", LINES.some((head) => head.classList.contains("adaptive"))], ["poisons that did not take", LINES.some(untaken)]];
  const without = others.filter(([, present]) => present).map(([name]) => name).join(" and ");
  const total = Object.values(count).reduce((a, b) => a + b, 0);
  const told = Object.keys(words).filter((each) => (count.once ? count[each] || each === "same" : each !== "once"));
  const once = count.once ? " One training each: another one gives another difference." : "";
  return [node("p", `Of ${total} attacks${without && ` (${without} are not counted)`}: ${told.map((each) => `${words[each]} against ${count[each]}`).join(", ")}.${once}${oracle}`), grid];
}

function compare() {
  const ours = offer(pickers[0], [...rows()].sort((a, b) => a.dataset.row - b.dataset.row));
  const others = ours ? rows().filter((row) => row !== ours && row.dataset.group === ours.dataset.group) : [];
  const theirs = offer(pickers[1], others.sort((a, b) => a.dataset.row - b.dataset.row));
  pickers[1].disabled = !ours;
  outcome.hidden = !theirs;
  outcome.replaceChildren(...(ours && theirs ? compared(ours, theirs) : []));
}

for (const picker of pickers) picker.addEventListener("change", () => Board.set(picker.name, picker.value));
Board.listeners.push((name) => ([FIRST, SECOND, ""].includes(name) ? compare() : null));
compare();
