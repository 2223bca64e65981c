"use strict";

// One cell: `cell.html#KEY` loads the script file that holds KEY and shows what it says. Text is only ever set as text.

const cells = new Map();
window.addCells = (records) => Object.entries(records).forEach(([key, record]) => cells.set(key, record));

const SCORES = new Map(JSON.parse(document.getElementById("scores").textContent).map((score) => [score.name, score]));
const place = document.getElementById("cell");
const DASH = "–";

function el(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) if (value !== null) element.setAttribute(name, value);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// A name: its direction of writing ends with it, and a line ends behind a mark rather than in a word.
const isolated = (text) => el("bdi", {}, text.split(/(?<=[:=,_])(?=\S)/).flatMap((part, i) => (i ? [el("wbr"), part] : [part])));
const missing = (value) => value === null || value === undefined;
function words(value) {
  if (missing(value)) return DASH;
  if (Array.isArray(value)) return value.map(words).join(", ") || "none";
  return typeof value === "string" ? value || DASH : JSON.stringify(value);
}

const spoken = (name) => name.replaceAll("_", " "); // a name of code

const card = (title, ...children) => el("section", { class: "card" }, el("h2", {}, title), ...children);
const facts = (pairs, kind = "columns") =>
  el("dl", { class: kind }, pairs.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

const KIND = { meaning: "words", why: "words", "recipe of the source": "words", measured: "detail", "key (sha256 of all it depends on)": "hash", "sha256 of the data": "hash" }; // classes of columns

function grid(label, heads, rows) {
  const kinds = heads.map((name) => ({ class: KIND[name] ?? null }));
  const body = rows.map((row) => el("tr", {}, row.map((value, i) => (i ? el("td", kinds[i], value) : el("th", { scope: "row" }, value)))));
  const head = el("thead", {}, el("tr", {}, heads.map((name, i) => el("th", { scope: "col", ...kinds[i] }, name))));
  const table = el("table", { class: "plain" }, head, el("tbody", {}, body));
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table);
}

const link = (key, text) => (key && text !== DASH ? el("a", { href: `#${encodeURIComponent(key)}` }, text) : DASH);

function headline(cell) {
  const { seeds, undefended, clean } = cell.relatives;
  const shown = cell.headline;
  const tiles = [
    ["clean test accuracy", shown.accuracy, shown.images === DASH ? "not measured" : `last epoch, n = ${shown.images} test images`],
    ["without defense", link(undefended, shown.undefended), "same attack, victim and seed"],
    ["clean baseline", link(clean, shown.clean), "same victim and seed, clean data"],
    ["recovery", shown.recovery, "0 undefended, 1 clean"],
    ["cost", shown.cost, shown.multiple && `${shown.multiple} an undefended training`],
  ];
  const others = seeds.map(([seed, key]) => el("a", { href: `#${encodeURIComponent(key)}`, "aria-current": key === cell.key ? "true" : null }, String(seed)));
  return [
    el("p", { class: "where" }, isolated(cell.data), cell.preset ? [" · preset ", isolated(cell.preset)] : [], " · victim ", isolated(cell.victim.text), cell.precision && ` · ${cell.precision}`, ` · seed ${cell.seed}`),
    el("h1", {}, isolated(cell.defense.text), " against ", isolated(cell.attack.text)),
    cell.status === "done" ? null : el("p", {}, el("span", { class: "chip bad" }, cell.status)),
    el("dl", { class: "answers" }, tiles.map(([name, value, note]) => el("div", {}, el("dt", {}, name), el("dd", {}, value), el("dd", { class: "note" }, note)))),
    cell.disagreeing.length ? el("p", {}, el("span", { class: "chip warn" }, "stores disagree"), ` Another store has ${cell.disagreeing.join(", ")} % for this cell; it is not counted.`) : null,
    el("p", { class: "files" }, el("a", { href: `#${nameOf(cell)}`, title: "This address stays valid if the cell is computed again" }, "Address by name")),
    others.length > 1 ? el("p", { class: "files" }, "Seeds: ", others.flatMap((other) => [other, " "])) : null,
  ];
}

function failure(cell) {
  if (!cell.error) return null;
  const { stage, kind, message, traceback } = cell.error;
  return card("Why there is no result", el("p", {}, [kind, stage && `in stage ${stage}`].filter(Boolean).join(" ")), el("pre", {}, words(message)), traceback ? el("pre", {}, traceback) : null);
}

const ROWS = [["clean", "clean"], ["poisoned", "poi\u00adsoned"], ["perturbation", "pertur\u00adbation ×16"], ["purified", "purified"], ["residual", "residual ×16"]];

function pictures(cell) {
  const title = "What happened to the images";
  const sheet = cell.sheet;
  if (!sheet && cell.status !== "done") return null;
  if (!sheet) return card(title, el("p", { class: "caption" }, "No contact sheet: the artifacts of this cell hold no sample images, or were not at hand when this was published."));
  const tile = (name, i) => el("span", { class: "tile" }, el("img", { src: sheet.strips[name], alt: "", style: `width:${100 * sheet.images}%;left:${-100 * i}%` }));
  const column = (i) => ROWS.flatMap(([name]) => [tile(name, i), sheet.each[name] ? el("small", {}, sheet.each[name][i]) : null]);
  const labels = ROWS.flatMap(([name, label]) => [el("span", { class: "label" }, label), sheet.each[name] ? el("small", {}, "PSNR") : null]);
  const columns = Array.from({ length: sheet.images }, (_, i) => column(i)).flat();
  const text = `Contact sheet of ${sheet.images} training images: clean, poisoned, perturbation times 16, purified, residual`;
  const caption = `${sheet.images} training images across classes. Differences from the clean image are enlarged 16 times around gray (gray: none). All samples together: poisoned ${sheet.whole.poisoned}, purified ${sheet.whole.purified}.`;
  return card(title, el("div", { class: "sheet", role: "img", "aria-label": text }, labels, columns), el("p", { class: "caption" }, caption), slider(sheet));
}

function flat(settings, prefix = "") {
  return Object.entries(settings).flatMap(([name, value]) =>
    value && typeof value === "object" && !Array.isArray(value) ? flat(value, `${prefix}${name}.`) : [[prefix + name, words(value)]]);
}

const inWords = (pairs) => pairs.map(([name, value]) => [spoken(name), value]);

function settings(cell) {
  const parts = ["attack", "defense", "victim"].map((kind) => {
    const part = cell[kind];
    const about = { ...part.extra, ...(part.uses.length ? { uses: part.uses.join(", ") } : {}), ...(part.source ? { paper: part.source } : {}) };
    const all = [...flat(part.parameters), ...inWords(flat(about))];
    return el("div", {}, el("h3", {}, `${kind} `, el("a", { href: `methods.html#${kind}-${part.name}` }, part.name)), facts(all));
  });
  parts.push(el("div", {}, el("h3", {}, `data set ${cell.dataset.name}`), facts(inWords(flat(cell.dataset)))));
  return card("Settings in full", el("div", { class: "boxes" }, parts));
}

function costs(cell) {
  if (!cell.costs.length) return null;
  return card("Costs by stage and phase",
    grid("Costs", ["stage", "phase", "seconds", "peak GPU", "peak host", "energy", "device", "exclusive", "measured"], cell.costs),
    facts(cell.charged, "columns marks"));
}

function curve(cell) {
  if (!cell.curve.epoch?.length) return null;
  const save = (format) => el("button", { type: "button", "data-save": format, "data-filename": `curve-${cell.key}` }, format.toUpperCase());
  return card("Training curve", el("div", { class: "plot", id: "curve", role: "img", "aria-label": "Accuracy by epoch on training images and on clean test images" }),
    el("p", { class: "caption" }, "Accuracy on a fixed sample of the training images and on the untouched test set. A poison works where the two part; the headline is the last epoch."),
    window.Plotly ? el("p", { class: "tools" }, "Save the chart as ", save("svg"), " ", save("png")) : null);
}

function curveFigure(cell) {
  const trace = (name, values, dash, role) => ({ name, x: cell.curve.epoch, y: (values ?? []).map((v) => (missing(v) ? null : 100 * v)), mode: "lines+markers", line: { color: css(role), dash, width: 2 }, marker: { size: 4 }, hovertemplate: "%{y:.1f} % in epoch %{x}" });
  return {
    data: [trace("training images", cell.curve.train_accuracy, "dash", "--plot-oracle"), trace("clean test images", cell.curve.clean_test_accuracy, "solid", "--plot-single")],
    layout: framed({ title: { text: "epoch" }, dtick: cell.curve.epoch.length > 10 ? null : 1 }, { title: { text: "accuracy (%)" }, range: [0, 102] }),
  };
}

function drawCurve(cell, width) {
  const target = document.getElementById("curve");
  if (target && window.Plotly) drawFigure(target, curveFigure(cell), width);
}

function scores(cell) {
  const group = (title, caption, names) => {
    const rows = names.map((name) => {
      const { label, meaning, unit, direction } = SCORES.get(name) ?? { label: spoken(name), meaning: "", unit: "", direction: "" };
      return [el("span", { title: `score_${name} in cells.csv` }, label), cell.scores[name], unit, `${meaning} ${direction}`.trim()];
    });
    return rows.length ? card(title, el("p", { class: "caption" }, caption), grid(title, ["score", "value", "unit", "meaning"], rows)) : null;
  };
  const names = [...new Set([...SCORES.keys(), ...Object.keys(cell.scores)])].filter((name) => name in cell.scores);
  const ofPoison = (name) => name.startsWith("poison");
  return [
    group("Disentanglement", "How well the defense tells the poison from the image.", names.filter((name) => !ofPoison(name))),
    group("The poison", "Measured by the harness, whatever the attack says of itself.", names.filter(ofPoison)),
  ];
}

// Bars of shares, drawn as SVG: the energy of the perturbation by spatial frequency and by channel.
function spectrum(cell) {
  const charts = Object.entries(cell.spectrum ?? {}).filter(([, shares]) => shares.length);
  if (!charts.length) return null;
  const drawn = charts.map(([title, shares]) => {
    const bars = shares.flatMap(([label, share], i) => {
      const x = 12 + 84 * i, middle = { x: x + 30, "text-anchor": "middle" };
      return [
        svgNode("rect", { x, y: 118 - 100 * share, width: 60, height: 100 * share }),
        svgNode("text", { ...middle, y: 112 - 100 * share }, `${(100 * share).toFixed(0)} %`),
        svgNode("text", { ...middle, y: 134 }, label),
      ];
    });
    const text = `Energy by ${title}: ${shares.map(([label, share]) => `${label} ${(100 * share).toFixed(0)} %`).join(", ")}`;
    const width = 84 * shares.length + 12;
    const save = (format) => el("button", { type: "button", "data-picture": format, "data-filename": `spectrum-${title}-${cell.key}` }, format.toUpperCase());
    const tools = el("p", { class: "tools" }, "Save the figure as ", save("svg"), " ", save("png"));
    return el("div", { class: "picture" }, el("h3", {}, title), svgNode("svg", { viewBox: `0 0 ${width} 140`, width, height: 140, role: "img", "aria-label": text }, ...bars), tools);
  });
  return card("Spectrum of the perturbation", el("div", { class: "boxes spectrum" }, drawn), el("p", { class: "caption" }, "Shares of the energy of the poison’s perturbation, before the defense. What the defense leaves of it is not shown. Low frequencies: patches and colors; high: from pixel to pixel."));
}

function published(cell) {
  const title = "Published values";
  if (!cell.published.length && cell.status !== "done") return null;
  if (!cell.published.length) return card(title, el("p", { class: "caption" }, "None was found for this data set, attack, defense and victim."));
  const rows = cell.published.map((row) => [row.source, row.published, row.difference, row.verdict, row.recipe, row.reason]);
  return card(title, el("p", { class: "caption" }, "The verdict here is on this seed alone; the heat map compares the mean over seeds."), grid("Published values", ["source", "published %", "this seed − published", "verdict", "recipe of the source", "why"], rows));
}

function again(cell) {
  const { command } = cell.provenance;
  const origin = command ? [el("p", { class: "caption" }, "This cell is from (folders left out):"), commandLine(command)] : [];
  return card("Computing it again", commandLine(cell.reproduce), el("p", { class: "caption" }, "Undefended and clean training are added by the harness."), ...origin);
}

// Lines break between options, not in their names.
function commandLine(command) {
  const parts = command.split(/ (?=--)/).flatMap((part, number) => [...(number ? [" "] : []), el("span", {}, part)]);
  return el("pre", { class: "command" }, ...parts);
}

function provenance(cell) {
  const { artifacts, logs } = cell;
  const machine = inWords(flat(cell.provenance).filter(([name]) => name !== "command"));
  return [
    artifacts.length ? card("Artifacts", grid("Artifacts", ["stage", "key (sha256 of all it depends on)", "sha256 of the data", "size"], artifacts)) : null,
    logs.length ? card("Logs of the methods", grid("Logs", ["stage", "name", "value"], logs.map(([stage, name, value]) => [stage, spoken(name), value]))) : null,
    machine.length ? card("Versions and machine", facts(machine)) : null,
  ];
}

let onPage = ""; // key of the cell on the page

function show(key) {
  const cell = cells.get(key);
  onPage = key;
  if (!cell) {
    place.replaceChildren(el("h1", {}, "No such cell"), el("p", {}, key ? `This site has no cell ${key}. A cell that was computed again has another key; its address by name stays. ` : "The address names no cell. ", "The column key of cells.csv lists all."));
    return;
  }
  document.title = `${cell.defense.text} against ${cell.attack.text} · purify-bench`;
  place.replaceChildren(...[headline(cell), failure(cell), pictures(cell), el("div", { class: "pair" }, curve(cell), again(cell)), published(cell), costs(cell), spectrum(cell), scores(cell), settings(cell), provenance(cell)].flat().filter(Boolean));
  drawCurve(cell);
}

function drawFor(paper) {
  document.documentElement.classList.toggle("printing", paper); // paper is white, and 600 pixels fit on an A4 page
  const cell = cells.get(onPage);
  if (cell) drawCurve(cell, paper ? Math.min(document.getElementById("curve")?.clientWidth, PRINTED_WIDTH) : undefined);
}

function keyOf() {
  const key = location.hash.slice(1);
  try {
    return decodeURIComponent(key);
  } catch {
    return key; // a stray percent sign: look for the text as it is
  }
}

function fetchScript(file, then) {
  const script = el("script", { src: `cells/${file}.js` });
  script.onload = script.onerror = then;
  document.head.append(script);
}

function load(key) {
  if (cells.has(key) || !key) return show(key);
  fetchScript(/^[0-9a-f]{2}/.test(key) ? key.slice(0, 2) : "other", () => show(key));
}

function loadAddress() {
  const address = location.hash.slice(1);
  if (!isName(address)) return load(keyOf());
  if (!known) return fetchScript("names", () => (known ? loadAddress() : show(address)));
  const found = fitting(address);
  if (found.length < 2) return load(found[0]?.[0] ?? address);
  document.title = `${found.length} cells · purify-bench`;
  place.replaceChildren(...listed(found));
}

place.addEventListener("click", ({ target }) => {
  if (target.dataset.save) saveFigure(() => curveFigure(cells.get(onPage)), target);
});
window.addEventListener("hashchange", () => {
  loadAddress();
  scrollTo(0, 0);
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawFor(false));
window.addEventListener("beforeprint", () => drawFor(true));
window.addEventListener("afterprint", () => drawFor(false));
loadAddress();
