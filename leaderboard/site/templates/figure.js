"use strict";

// What the charts of all pages share: colors, the frame around the data, and files of a chart.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const PRINTED_WIDTH = 600; // pixels that fit on an A4 page
const SAVED = { width: 800, height: 480 };

function onPaper(draw) { // with the light colors, for paper is white
  const { classList } = document.documentElement;
  const before = classList.contains("printing");
  classList.add("printing");
  try {
    return draw();
  } finally {
    classList.toggle("printing", before);
  }
}

function framed(xaxis, yaxis) {
  const axis = { gridcolor: css("--line"), linecolor: css("--line"), zeroline: false, automargin: true, fixedrange: true };
  return {
    xaxis: { ...axis, ...xaxis },
    yaxis: { ...axis, ...yaxis },
    font: { family: getComputedStyle(document.body).fontFamily, color: css("--muted"), size: 12 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    margin: { l: 8, r: 16, t: 8, b: 8 },
    legend: { orientation: "h", x: 0, y: -0.2, yanchor: "top" },
    hoverlabel: { bgcolor: css("--card"), bordercolor: css("--line"), font: { color: css("--text") }, align: "left" },
  };
}

function drawFigure(plot, { data, layout }, width) {
  Plotly.react(plot, data, { ...layout, width, height: plot.clientHeight }, { responsive: true, displayModeBar: false });
}

function saveFigure(figureOf, { dataset }) { // three pixels of a PNG for one of the screen
  const { data, layout } = onPaper(figureOf);
  const figure = { data, layout: { ...layout, ...SAVED, paper_bgcolor: "#fff" } };
  return Plotly.downloadImage(figure, { ...SAVED, format: dataset.save, filename: dataset.filename, scale: dataset.save === "png" ? 3 : 1 });
}
