"use strict";

// Figures that Plotly does not draw, as files in the colors of paper: drawings as they stand, the heat map from its table.

const PAINT = ["fill", "stroke", "stroke-width", "stroke-dasharray", "font-size", "font-family", "text-anchor"];
const HEAT = { font: 13, least: 66, gap: 3, line: 15, longest: 40 }; // pixels; letters of a name

function svgNode(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });

function everywhere(color) { // as any viewer of SVG reads it: browsers compute oklab() and others too
  if (!/^(oklab|oklch|color|lab|lch|hsl)\(/.test(color)) return color;
  pen.clearRect(0, 0, 1, 1);
  pen.fillStyle = color;
  pen.fillRect(0, 0, 1, 1);
  return `rgb(${[...pen.getImageData(0, 0, 1, 1).data].slice(0, 3).join(", ")})`;
}

function onWhite(width, height, ...children) {
  const font = getComputedStyle(document.body).fontFamily;
  return svgNode("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "font-family": font }, svgNode("rect", { width, height, fill: "#ffffff" }), ...children);
}

function fromDrawing(drawing) { // its style, which is in the style sheet of the page, goes along
  const copy = drawing.cloneNode(true);
  const copies = copy.querySelectorAll("*");
  drawing.querySelectorAll("*").forEach((node, i) => {
    const style = getComputedStyle(node);
    for (const name of PAINT) copies[i].setAttribute(name, everywhere(style.getPropertyValue(name)));
    copies[i].removeAttribute("class");
  });
  const { width, height } = drawing.viewBox.baseVal;
  return onWhite(width, height, ...copy.childNodes);
}

function fromHeat(table) {
  const { font, least, gap, line, longest } = HEAT;
  const cut = (text) => (text.length > longest ? `${text.slice(0, longest - 1)}…` : text);
  const visible = (cell) => cell.getClientRects().length > 0;
  const nameOf = (cell) => cut(cell.title || cell.textContent.trim());
  const linesOf = (cell) => [cell.querySelector("a")?.textContent ?? cell.firstChild?.textContent ?? "", ...[...cell.querySelectorAll("small")].map((small) => small.lastChild.textContent)].map((text) => text.trim());
  const heads = [...table.tHead.rows[0].cells].slice(1).filter(visible).map(nameOf);
  const rows = [...table.tBodies[0].rows].map((row) => [nameOf(row.cells[0]), [...row.cells].slice(1).filter(visible)]);
  pen.font = `${font}px ${getComputedStyle(document.body).fontFamily}`;
  const wide = (texts) => Math.max(...texts.map((text) => pen.measureText(text).width));
  const column = Math.max(least, wide(rows.flatMap(([, cells]) => cells.flatMap(linesOf))) + 6);
  const left = wide(rows.map(([name]) => name)) + 20;
  const turned = wide(heads) > column - gap;
  const top = turned ? 0.65 * wide(heads) + 24 : 30;
  const tall = 12 + line * Math.max(...rows.flatMap(([, cells]) => cells.map((cell) => linesOf(cell).length)));
  const text = (x, y, content, more = {}) => svgNode("text", { x, y, "font-size": font, fill: "#1d1d1d", ...more }, content);
  const nodes = heads.map((name, i) => {
    const x = left + column * (i + 0.5), y = top - 10;
    return turned ? text(x, y, name, { transform: `rotate(-40 ${x} ${y})` }) : text(x, y, name, { "text-anchor": "middle" });
  });
  rows.forEach(([name, cells], r) => {
    const y = top + tall * r;
    nodes.push(text(left - 12, y + tall / 2 + font / 3, name, { "text-anchor": "end" }));
    cells.forEach((cell, c) => {
      const style = getComputedStyle(cell), lines = linesOf(cell), x = left + column * c;
      nodes.push(svgNode("rect", { x, y, width: column - gap, height: tall - gap, rx: 4, fill: everywhere(style.backgroundColor) }));
      const first = y + (tall - gap) / 2 - (line * (lines.length - 1)) / 2 + font / 3;
      nodes.push(...lines.map((content, n) => text(x + (column - gap) / 2, first + line * n, content, { "text-anchor": "middle", "font-size": n ? font - 2 : font, fill: everywhere(style.color) })));
    });
  });
  const beyond = turned ? 0.77 * wide(heads.slice(-1)) : 0; // of the last name
  return onWhite(Math.ceil(left + column * heads.length + beyond + 8), Math.ceil(top + tall * rows.length + 8), ...nodes);
}

function asFile(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

async function savePicture({ dataset, parentElement }) { // three pixels of a PNG for one of the screen
  const place = parentElement.closest(".picture");
  const svg = onPaper(() => (place.querySelector("table.heat") ? fromHeat(place.querySelector("table.heat")) : fromDrawing(place.querySelector("svg"))));
  const text = new XMLSerializer().serializeToString(svg);
  const name = `${dataset.filename.replace(/[^\w.-]+/g, "-")}.${dataset.picture}`;
  if (dataset.picture === "svg") return asFile(new Blob([text], { type: "image/svg+xml" }), name);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: 3 * image.width, height: 3 * image.height });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  canvas.toBlob((blob) => asFile(blob, name), "image/png");
}

document.addEventListener("click", ({ target }) => {
  if (target.dataset?.picture) savePicture(target);
});
