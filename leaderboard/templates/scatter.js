"use strict";

// The charts: drawn when they come into sight, again when colors, axis or selection change.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const narrow = () => matchMedia("(max-width: 600px)").matches;
const plots = [...document.querySelectorAll(".plot")];
const inSight = new Set();

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
    textfont: { color: css("--text"), size: narrow() ? 10 : 12 },
    cliponaxis: false,
  };
}

function draw(plot) {
  const figures = figuresOf(plot);
  const figure = figures[Board.state.get("axis")] ?? figures[plot.dataset.axis];
  const chosen = Number(document.querySelector("tr.chosen")?.dataset.row ?? -1);
  const axis = { gridcolor: css("--line"), linecolor: css("--line"), zeroline: false, automargin: true, fixedrange: true };
  const layout = {
    ...figure.layout,
    xaxis: { ...axis, ...figure.layout.xaxis },
    yaxis: { ...axis, ...figure.layout.yaxis },
    font: { family: getComputedStyle(document.body).fontFamily, color: css("--muted"), size: 12 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 16, t: 8, b: 8 },
    height: 400,
    legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top" },
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--text") }, align: "left" },
  };
  Plotly.react(plot, figure.data.map((trace) => styled(trace, chosen)), layout, { responsive: true, displayModeBar: false });
  if (!plot.clickable) {
    plot.clickable = true;
    plot.on("plotly_click", (event) => choose(event.points[0].customdata));
  }
}

function choose(number) {
  const row = document.querySelector(`tr[data-row="${number}"]`);
  if (!row) return;
  if (!row.classList.contains("chosen")) row.querySelector(".pick").click();
  row.scrollIntoView({ block: "center" });
}

function drawVisible() {
  const name = Board.state.get("axis");
  for (const input of document.querySelectorAll(".axis input")) {
    const first = input.closest("fieldset").querySelector("input").value;
    const known = name && input.closest("fieldset").querySelector(`input[value="${CSS.escape(name)}"]`);
    input.checked = input.value === (known ? name : first);
  }
  inSight.forEach(draw);
}

if (window.Plotly) {
  document.addEventListener("change", (event) => {
    if (event.target.closest(".axis")) Board.set("axis", event.target.value);
  });
  const watcher = new IntersectionObserver((changes) => {
    for (const change of changes) {
      if (!change.isIntersecting) inSight.delete(change.target);
      else if (!inSight.has(change.target)) {
        inSight.add(change.target);
        draw(change.target);
      }
    }
  }, { rootMargin: "1200px" });
  plots.forEach((plot) => watcher.observe(plot));
  Board.listeners.push((name) => (["axis", "row", ""].includes(name) ? drawVisible() : null));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => inSight.forEach(draw));
  drawVisible();
} else {
  plots.forEach((plot) => plot.append("The chart needs the folder assets beside this page."));
}
