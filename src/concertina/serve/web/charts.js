// Two charts of the last two minutes, drawn anew at every reading.

import { drawn } from "./dom.js";
import { number } from "./words.js";

const LEFT = 44;
const RIGHT = 8;
const TOP = 8;
const BOTTOM = 18;

function frame(box) {
  const width = Math.max(240, box.clientWidth);
  const height = Math.max(100, box.clientHeight);
  const svg = drawn("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "aria-hidden": "true" });
  return { svg, width, height, right: width - RIGHT, bottom: height - BOTTOM };
}

function timeAxis({ svg, right, bottom, width }, seconds) {
  const x = (ago) => right - (ago / seconds) * (right - LEFT);
  for (const ago of [seconds, (3 * seconds) / 4, seconds / 2, seconds / 4, 0]) {
    svg.append(drawn("path", { class: "frame", d: `M${x(ago)} ${TOP}V${bottom}` }));
    const anchor = ago === 0 ? "end" : ago === seconds ? "start" : "middle";
    const text = ago === 0 ? "now" : `${Math.round(ago)} s ago`;
    if (width > 420 || ago === 0 || ago === seconds || ago === seconds / 2) {
      svg.append(drawn("text", { class: "axis", x: x(ago), y: bottom + 14, "text-anchor": anchor }, text));
    }
  }
}

function valueAxis({ svg, right }, ticks, y) {
  for (const tick of ticks) {
    svg.append(drawn("path", { class: "frame", d: `M${LEFT} ${y(tick)}H${right}` }));
    svg.append(drawn("text", { class: "axis", x: LEFT - 6, y: y(tick) + 4, "text-anchor": "end" }, number(tick)));
  }
}

function roundUp(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((factor) => factor * unit).find((found) => found >= value * 0.999);
}

// Layers (the first at the bottom) of values a slot, as steps.
export function stacked(box, layers, everySeconds) {
  const made = frame(box);
  const slots = layers[0]?.values.length ?? 60;
  const sums = Array.from({ length: slots }, (_, i) => layers.reduce((sum, layer) => sum + layer.values[i], 0));
  const top = roundUp(Math.max(...sums, everySeconds) / everySeconds);
  const x = (i) => LEFT + (i / slots) * (made.right - LEFT);
  const y = (value) => made.bottom - (value / top) * (made.bottom - TOP);
  timeAxis(made, slots * everySeconds);
  valueAxis(made, [0, top / 2, top], y);
  const below = new Array(slots).fill(0);
  for (const layer of layers) {
    if (layer.values.some(Boolean)) {
      const step = (value, i) => [i, i + 1].map((at) => `${x(at).toFixed(1)} ${y(value / everySeconds).toFixed(1)}`);
      const forth = layer.values.flatMap((value, i) => step(below[i] + value, i));
      const back = below.flatMap(step).reverse();
      const d = `M${[...forth, ...back].join("L")}Z`;
      made.svg.append(drawn("path", { class: `area ${layer.tone}`, d }, drawn("title", {}, layer.shown)));
    }
    layer.values.forEach((value, i) => (below[i] += value));
  }
  box.replaceChildren(made.svg);
}

// Lines over slots on a log scale, and a level they are held against.
export function lines(box, series, level, everySeconds) {
  const made = frame(box);
  const slots = series[0].values.length;
  const known = series.flatMap((one) => one.values).filter((value) => value > 0);
  const all = level ? [...known, level] : known;
  const low = Math.log10(all.length ? Math.min(...all) : 1) - 0.1;
  const high = Math.max(Math.log10(all.length ? Math.max(...all) : 10) + 0.1, low + 0.7);
  const x = (i) => LEFT + ((i + 0.5) / slots) * (made.right - LEFT);
  const y = (value) => made.bottom - ((Math.log10(value) - low) / (high - low)) * (made.bottom - TOP);
  timeAxis(made, slots * everySeconds);
  valueAxis(made, logTicks(low, high), y);
  if (level) {
    made.svg.append(drawn("path", { class: "budget", d: `M${LEFT} ${y(level)}H${made.right}` }));
    made.svg.append(drawn("text", { class: "budget-text", x: LEFT + 6, y: y(level) - 5 }, `budget ${number(level)} ms`));
  }
  for (const one of series) draw(made, one, x, y);
  box.replaceChildren(made.svg);
}

function draw(made, one, x, y) {
  let pen = "M";
  let d = "";
  one.values.forEach((value, i) => {
    if (value > 0) {
      const isAlone = !(one.values[i - 1] > 0) && !(one.values[i + 1] > 0);
      d += `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}${isAlone ? "h2" : ""}`;
    }
    pen = value > 0 ? "L" : "M";
  });
  if (d) made.svg.append(drawn("path", { class: `line ${one.tone}`, d }, drawn("title", {}, one.shown)));
}

function logTicks(low, high) {
  const ticks = [];
  for (let decade = Math.floor(low); decade <= high; decade++) {
    for (const step of high - low > 2.2 ? [1] : high - low > 1.2 ? [1, 3] : [1, 2, 5]) ticks.push(step * 10 ** decade);
  }
  return ticks.filter((tick) => Math.log10(tick) >= low && Math.log10(tick) <= high);
}
