"use strict";

// Filters, selection and sorting of the board. Every choice is in the address, so that a link shares it.

const form = document.getElementById("filters");
const table = document.querySelector(".board");
const more = document.getElementById("more");
const COLUMNS = ["data", "preset", "victim", "precision", "defense"];
const PLACES = COLUMNS.slice(0, -1).filter((column) => table.querySelector(`.place-${column}`));
const PRINTED_ATTACKS = 4; // columns of attacks that fit on paper next to the others
const LIMIT = 25; // rows that are laid out at once; with 20 attacks a browser needs most of a second for some hundred

function addressed() { // the state in the address, where a data set may stand as it was selected
  const state = new URLSearchParams(location.hash.slice(1));
  const names = new Map([...table.tBodies[0].rows].map((row) => [row.dataset.selection, row.dataset.data]));
  for (const name of ["data", "row", "first", "second"]) {
    const [data, ...rest] = (state.get(name) ?? "").split("|");
    if (names.has(data)) state.set(name, [names.get(data), ...rest].join("|"));
  }
  return state;
}

const Board = {
  state: addressed(),
  listeners: [],
  set(name, ...values) {
    this.state.delete(name);
    values.filter(Boolean).forEach((value) => this.state.append(name, value));
    history.replaceState(null, "", this.state.size ? `#${this.state}` : location.pathname + location.search);
    this.listeners.forEach((listener) => listener(name));
  },
};
window.Board = Board;

const rows = () => [...table.tBodies[0].rows];

function remembered(compute) {
  const known = new Map();
  return (row) => known.get(row) ?? known.set(row, compute(row)).get(row);
}

const places = remembered((row) => COLUMNS.map((column) => row.dataset[column]));
const rowName = remembered((row) => places(row).join("|"));
const shared = document.getElementById("shared")?.textContent ?? ""; // flags of every row
const textOf = remembered((row) => `${row.textContent} ${row.dataset.about ?? ""} ${rowName(row)} ${shared}`.toLowerCase());

function wholeGroups(starts) { // number of rows before the last group that would be cut; LIMIT in a group that is longer
  if (starts.length <= LIMIT) return starts.length;
  const last = starts.slice(0, LIMIT + 1).lastIndexOf(true);
  return last > 0 ? last : LIMIT;
}

function filter() {
  const state = Board.state;
  const words = (state.get("q") ?? "").toLowerCase().split(/\s+/).filter(Boolean);
  const wanted = COLUMNS.map((column) => state.get(column));
  const [chosen, all] = [state.get("row"), Boolean(state.get("all"))];
  const groups = new Set();
  const fitting = [];
  for (const row of rows()) {
    const place = places(row);
    const fits = wanted.every((name, i) => !name || name === place[i]) && words.every((word) => textOf(row).includes(word));
    if (fits) fitting.push(row);
    if (row.hidden === fits) row.hidden = !fits;
    if (fits) groups.add(row.dataset.group);
  }
  const sorted = Boolean(table.querySelector("th[aria-sort]")); // then the groups are mixed
  const starts = fitting.map((row, i) => i > 0 && row.dataset.group !== fitting[i - 1].dataset.group);
  const limit = sorted ? LIMIT : wholeGroups(starts);
  fitting.forEach((row, i) => {
    row.classList.toggle("first", !sorted && starts[i]);
    row.classList.toggle("later", i >= limit && !all && rowName(row) !== chosen);
  });
  document.querySelector(".count").textContent = `${fitting.length} of ${table.tBodies[0].rows.length} rows`;
  more.hidden = fitting.length <= limit || all;
  more.textContent = `Show all ${fitting.length} rows (the first ${limit} are shown)`;
  for (const section of document.querySelectorAll("section.group")) section.hidden = !groups.has(section.dataset.group);
  for (const details of document.querySelectorAll(".compared")) comparePublished(details, words, state);
  const first = [...groups].sort((a, b) => a - b)[0];
  for (const answer of document.querySelectorAll(".answer")) answer.hidden = answer.dataset.group !== first;
  showColumns(state);
}

function comparePublished(details, words, state) { // published values of the defense, the attack and the words that are asked for
  const values = [...details.querySelectorAll("tbody")];
  const asked = ["defense", "attack"].filter((name) => state.get(name));
  for (const value of values) {
    value.hidden = !asked.every((name) => value.dataset[name] === state.get(name)) || !words.every((word) => value.textContent.toLowerCase().includes(word));
  }
  const shown = values.filter((value) => !value.hidden).length;
  details.firstElementChild.textContent = `${shown < values.length ? `${shown} of ` : ""}${values.length} published values`;
}

function showColumns(state) {
  const number = state.get("attack") ? form.elements.attack.selectedIndex : 0;
  const every = boxes.find((box) => !box.dataset.column);
  const attacks = number > 0 ? [`at${number}`] : boxes.filter((box) => ofAttack(box) && (every.checked || box.checked)).map((box) => box.dataset.column);
  table.classList.toggle("broad", attacks.length > PRINTED_ATTACKS);
  const hidden = PLACES.filter((column) => state.get(column)).map((column) => `.place-${column}`);
  hidden.push(...boxes.filter((box) => box.dataset.column && !ofAttack(box) && !box.checked).map((box) => `.board .${box.dataset.column}`));
  if (number > 0 || !every.checked) hidden.push(`${number > 0 ? "" : ".board "}.at${attacks.map((name) => `:not(.${name})`).join("")}`);
  const fixed = PLACES.filter((column) => !state.get(column)); // they follow the name and stay where they are
  const rules = fixed.map((column, i) => `.board .place-${column} { left: calc(var(--rank) + var(--name) + ${i} * var(--place)); }`);
  if (hidden.length) rules.push(`${hidden.join(", ")} { display: none; }`);
  const style = rules.join(" ");
  if (columnStyle.textContent !== style) columnStyle.textContent = style; // a new style is computed for every cell
}

const boxes = [...form.querySelectorAll("[name=column]")];
const phone = matchMedia("(max-width: 600px)"); // as in site.css; for scatter.js too
const usual = (box) => box.defaultChecked && (!phone.matches || "narrow" in box.dataset);
const ofAttack = (box) => box.dataset.column?.startsWith("at");

function chooseColumns() {
  const changed = boxes.some((box) => box.checked !== usual(box));
  const names = boxes.filter((box) => box.checked).map((box) => box.value);
  Board.set("column", ...(changed ? (names.length ? names : ["none"]) : []));
}

const columnStyle = document.head.appendChild(document.createElement("style"));

function select() {
  const name = Board.state.get("row");
  for (const row of rows()) {
    const chosen = rowName(row) === name;
    row.classList.toggle("chosen", chosen);
    row.querySelector(".pick").setAttribute("aria-pressed", chosen);
  }
}

function fill() {
  for (const field of form.elements) {
    if (!field.name || field.name === "column") continue;
    const value = Board.state.get(field.name) ?? "";
    field.value = value;
    if (value && field.value !== value) Board.state.delete(field.name); // a choice that this board does not have
    if (field.value !== value) field.value = "";
  }
  const chosen = Board.state.getAll("column");
  for (const box of boxes) box.checked = chosen.length ? chosen.includes(box.value) : usual(box);
}

const heads = [...table.tHead.rows[0].cells];
const OPPOSITE = { ascending: "descending", descending: "ascending" };
const sortKey = (cell) => cell.dataset.sort ?? cell.textContent.trim();

function sortBy(head, direction) { // numbers by size, words by letters; what is empty comes last
  const sign = direction === "ascending" ? 1 : -1;
  const keyed = rows().map((row) => [sortKey(row.cells[head.cellIndex]), row]);
  keyed.sort(([a], [b]) => (a === "") - (b === "") || sign * (isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b));
  heads.forEach((other) => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", direction);
  table.tBodies[0].append(...keyed.map(([, row]) => row));
}

function sortAsAddressed() {
  const [name, direction] = (Board.state.get("sort") ?? "").split("~");
  const head = heads.find((cell) => cell.dataset.name === name);
  if (head && OPPOSITE[direction]) sortBy(head, direction);
  else unsort();
}

function unsort() {
  const head = table.querySelector("th[aria-sort]");
  if (!head) return;
  head.removeAttribute("aria-sort");
  table.tBodies[0].append(...rows().sort((a, b) => a.dataset.row - b.dataset.row));
}

form.addEventListener("input", (event) => (boxes.includes(event.target) ? chooseColumns() : Board.set(event.target.name, event.target.value)));
form.addEventListener("submit", (event) => event.preventDefault());
form.addEventListener("reset", (event) => {
  event.preventDefault();
  for (const name of [...COLUMNS, "attack", "q", "all", "sort", "column"]) Board.state.delete(name);
  unsort();
  fill();
  Board.set("row", "");
});
table.addEventListener("click", (event) => {
  const head = event.target.closest("thead button")?.closest("th");
  if (head) {
    sortBy(head, OPPOSITE[head.getAttribute("aria-sort")] ?? ("lowFirst" in head.dataset ? "ascending" : "descending"));
    Board.set("sort", `${head.dataset.name}~${head.getAttribute("aria-sort")}`);
  }
  const row = event.target.closest(".pick")?.closest("tr");
  if (row) Board.set("row", row.classList.contains("chosen") ? "" : rowName(row));
});
more.addEventListener("click", () => Board.set("all", "1"));
Board.listeners.push((name) => (name === "row" ? select() : null), filter);
phone.addEventListener("change", () => {
  fill();
  filter();
});
window.addEventListener("hashchange", () => {
  Board.state = addressed();
  fill();
  sortAsAddressed();
  Board.listeners.forEach((listener) => listener(""));
  select();
});

fill();
sortAsAddressed();
filter();
select();
