"use strict";

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const narrow = () => matchMedia("(max-width: 600px)").matches;

function styled(trace) {
  const color = css(`--plot-${trace.meta}`);
  return {
    ...trace,
    line: { ...trace.line, color, width: trace.meta === "front" ? 2 : 1.5 },
    marker: { ...trace.marker, color, size: 10, line: { color, width: 2 } },
    textfont: { color: css("--text"), size: narrow() ? 10 : 12 },
    cliponaxis: false,
  };
}

function draw(plot) {
  const figure = JSON.parse(plot.querySelector("script").textContent);
  const axis = { gridcolor: css("--line"), linecolor: css("--line"), zeroline: false, automargin: true, fixedrange: true };
  const target = plot.querySelector("div") ?? plot.appendChild(document.createElement("div"));
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
  Plotly.react(target, figure.data.map(styled), layout, { responsive: true, displayModeBar: false });
}

const plots = document.querySelectorAll(".plot");
if (window.Plotly) {
  const drawAll = () => plots.forEach(draw);
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
} else {
  plots.forEach((plot) => plot.append("The chart needs the folder assets beside this page."));
}
