"use strict";

// Addresses by name, `cell.html#dataset=...&attack=...`: they lead to the cell, or to a list of all that fit.

const PARTS = ["dataset", "preset", "victim", "precision", "attack", "defense", "seed"];
let known = null;
window.addNames = (found) => (known = found);

function nameOf(cell) {
  const values = [cell.data, cell.preset, cell.victim.text, cell.precision, cell.attack.text, cell.defense.text, cell.seed];
  return new URLSearchParams(PARTS.map((part, i) => [part, values[i]]).filter(([, value]) => value !== "")).toString();
}

const isName = (address) => PARTS.includes(address.split("=", 1)[0]) && address.includes("=");

function fitting(address) { // [key, names] of cells
  const wanted = [...new URLSearchParams(address)];
  const named = known.cells.map(([key, ...numbers]) => [key, numbers.map((number) => known.texts[number])]);
  const is = (names, part, value) => names[known.names.indexOf(part)] === value;
  return named.filter(([, names]) => wanted.every(([part, value]) => is(names, part, value) || (part === "dataset" && is(names, "selection", value))));
}

function listed(found) {
  const line = ([key, names]) => el("li", {}, el("a", { href: `#${encodeURIComponent(key)}` }, names.slice(0, PARTS.length).filter(Boolean).join(" · ")));
  return [el("h1", {}, `${found.length} cells`), el("p", { class: "where" }, "Their data set, preset, victim, precision, attack, defense and seed:"), el("ul", {}, found.map(line))];
}
