"use strict";

// Two versions of one image on top of each other: a range, which the mouse or the arrow keys move, shows more of either.

const VERSIONS = ["clean", "poisoned", "purified", "perturbation", "residual"];

function slider(sheet) {
  const changes = sheet.strips.purified !== sheet.strips.poisoned; // by the defense, before training
  const start = changes ? ["poisoned", "purified"] : ["clean", "poisoned"];
  const names = VERSIONS.filter((name, i) => changes || (name !== "purified" && name !== "residual"));
  const choice = (label, options, value) => {
    const select = el("select", { name: label }, options.map(([text, of]) => el("option", { value: of }, text)));
    select.value = value;
    return select;
  };
  const versions = names.map((name) => [name === "perturbation" || name === "residual" ? `${name} ×16` : name, name]);
  const before = choice("left", versions, start[0]);
  const after = choice("right", versions, start[1]);
  const number = choice("image", Array.from({ length: sheet.images }, (_, i) => [String(i + 1), i]), 0);
  const layers = ["under", "over"].map((kind) => el("span", { class: `tile ${kind}` }, el("img", { alt: "" })));
  const range = el("input", { type: "range", min: 0, max: 100, value: 50, "aria-label": "Share of the left image" });
  const stage = el("div", { class: "stage" }, layers[1], layers[0], el("i", {}), range);
  const show = () => {
    [before, after].forEach((select, i) => {
      const image = layers[i].firstChild;
      image.src = sheet.strips[select.value];
      image.style.cssText = `width:${100 * sheet.images}%;left:${-100 * number.value}%`;
    });
    stage.style.setProperty("--at", `${range.value}%`);
    range.setAttribute("aria-valuetext", `${range.value} % ${before.value}, ${100 - range.value} % ${after.value}`);
  };
  for (const control of [before, after, number, range]) control.addEventListener("input", show);
  show();
  const labels = [["left", before], ["right", after], ["image", number]].map(([text, select]) => el("label", {}, text, select));
  return el("div", { class: "slide" }, stage, el("div", { class: "filters" }, labels));
}
