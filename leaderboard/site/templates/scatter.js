"use strict";

// The charts: what is in sight is drawn at once, the others while the browser is idle, all of them before printing.

const plots = [...document.querySelectorAll(".plot")];
const stale = new Set(plots);
const whenIdle = window.requestIdleCallback ?? setTimeout;
let waiting = false;

function figuresOf(plot) {
  plot.figures ??= JSON.parse(document.querySelector(`script.figures[data-group="${plot.dataset.group}"]`).textContent);
  return plot.figures;
}

function styled(trace, chosen) {
  const color = css(`--plot-${trace.meta}`);
  const marked = (trace.customdata ?? []).map((row) => row === chosen);
  return {
    ...trace,
    line: { ...trace.line, color, width: trace.meta === "front" ? 2 : 1.5 },
    marker: {
      ...trace.marker,
      color,
      size: marked.map((mark) => (mark ? 17 : 10)),
      line: { color: marked.map((mark) => (mark ? css("--text") : color)), width: 2 },
    },
    error_y: trace.error_y && { ...trace.error_y, visible: trace.error_y.array.some((width) => width !== null), color, thickness: 1.5, width: 4 },
    textfont: { color: css("--text"), size: phone.matches ? 10 : 12 },
    cliponaxis: false,
  };
}

function figureOf(plot) {
  const figures = figuresOf(plot);
  const { data, layout } = figures[Board.state.get("axis")] ?? figures[plot.dataset.axis];
  const chosen = Number(document.querySelector("tr.chosen")?.dataset.row ?? -1);
  return { data: data.map((trace) => styled(trace, chosen)), layout: framed(layout.xaxis, layout.yaxis) };
}

function draw(plot, width) {
  stale.delete(plot);
  drawFigure(plot, figureOf(plot), width);
  clearLabels(plot);
  if (!plot.clickable) {
    plot.clickable = true;
    plot.on("plotly_afterplot", () => clearLabels(plot)); // after another width, for example
    plot.on("plotly_click", (event) => choose(event.points[0].customdata));
  }
}

function clearLabels(plot) { // a label that covers a point or another label is hidden: of two, the one of the lower row
  const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
  const taken = [...plot.querySelectorAll(".scatterlayer .point")].map((point) => point.getBoundingClientRect());
  const frame = plot.getBoundingClientRect();
  for (const label of plot.querySelectorAll(".scatterlayer .textpoint")) {
    const box = label.getBoundingClientRect();
    const free = box.left >= frame.left && box.right <= frame.right && !taken.some((other) => meet(box, other));
    label.style.visibility = free ? "" : "hidden";
    if (free) taken.push(box);
  }
}

function choose(number) {
  const row = document.querySelector(`tr[data-row="${number}"]`);
  if (!row) return;
  if (!row.classList.contains("chosen")) row.querySelector(".pick").click();
  row.scrollIntoView({ block: "center" });
}

const shown = () => plots.filter((plot) => plot.offsetParent);

function inSight(plot) {
  const box = plot.getBoundingClientRect();
  return box.bottom > 0 && box.top < innerHeight;
}

function drawRest() {
  waiting = false;
  const next = shown().filter((plot) => stale.has(plot));
  if (next.length) draw(next.find(inSight) ?? next[0]);
  if (next.length > 1) later();
}

function later() {
  if (!waiting) whenIdle(drawRest);
  waiting = true;
}

function drawAgain() {
  plots.forEach((plot) => stale.add(plot));
  drawShown();
}

function drawShown() {
  shown().filter((plot) => stale.has(plot) && inSight(plot)).forEach((plot) => draw(plot));
  later();
}

function markAxis() {
  const name = Board.state.get("axis");
  for (const input of document.querySelectorAll(".axis input")) {
    const first = input.closest("fieldset").querySelector("input").value;
    const known = name && input.closest("fieldset").querySelector(`input[value="${CSS.escape(name)}"]`);
    input.checked = input.value === (known ? name : first);
  }
}

if (window.Plotly) {
  document.addEventListener("change", (event) => {
    if (event.target.closest(".axis")) Board.set("axis", event.target.value);
  });
  document.addEventListener("click", ({ target }) => {
    if (target.dataset.save) saveFigure(() => figureOf(target.closest(".card").querySelector(".plot")), target);
  });
  Board.listeners.push((name) => {
    markAxis();
    if (["axis", "row", ""].includes(name)) drawAgain();
    else drawShown();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAgain);
  window.addEventListener("beforeprint", () => {
    document.documentElement.classList.add("printing"); // paper is white
    shown().forEach((plot) => draw(plot, Math.min(plot.clientWidth, PRINTED_WIDTH)));
  });
  window.addEventListener("afterprint", () => {
    document.documentElement.classList.remove("printing");
    drawAgain();
  });
  markAxis();
  drawAgain();
} else {
  plots.forEach((plot) => plot.append("The chart needs the folder assets next to this page."));
}
