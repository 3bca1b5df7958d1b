// What each size is worth: the plot of the report, and the table beside it.

import { byId, copied, drawn, el, fill, say, show, sizeName } from "./dom.js";
import { count, ms, number, percent } from "./words.js";

let current = "";
let newest = null;

export function showWorth(model) {
  say(byId("metric"), model.metric);
  const quality = (value) => (value === null ? "–" : model.is_share ? percent(value) : number(value));
  const line = (point) =>
    el(
      "tr",
      {},
      sizeName(point),
      el("td", {}, quality(point.quality)),
      el("td", {}, `${count(point.macs)}, ${percent(point.share)}`),
      el("td", {}, count(point.size_bytes, "B")),
      el("td", {}, ms(point.latency_ms)),
    );
  fill(byId("points-rows"), model.points.map(line));
}

// Fetch the drawing as a document (it is never parsed from text here) and show what is known of it.
export function showPlot(model) {
  const room = byId("plot");
  const request = new XMLHttpRequest();
  newest?.abort();
  newest = request;
  request.open("GET", `page/plot.svg?width=${Math.round(room.clientWidth) || 720}`);
  request.responseType = "document";
  request.onload = () => {
    const root = request.status === 200 ? request.responseXML?.documentElement : null;
    const isThere = root?.localName === "svg";
    room.replaceChildren(...(isThere ? [copied(root)] : []));
    paint(model);
    show(byId("plot-figure"), true);
    say(byId("plot-note"), isThere ? "Bars: 95% intervals. The ring is the size on the dial." : "Nothing was measured, or the figures have not arrived yet.");
    mark(current);
  };
  request.send();
}

// Give the dots the colours that the sizes have everywhere.
function paint(model) {
  const tones = new Map(model.points.map((point) => [point.shown, point.tone]));
  for (const group of document.querySelectorAll("#plot [data-point]")) group.classList.add(tones.get(group.dataset.point) ?? "median");
}

// Put a ring around a size.
export function mark(name) {
  current = name;
  for (const old of document.querySelectorAll("#plot .ring")) old.remove();
  for (const group of document.querySelectorAll("#plot [data-point]")) {
    const dot = group.querySelector("circle");
    if (group.dataset.point === name && dot) {
      group.append(drawn("circle", { class: "ring", cx: dot.getAttribute("cx"), cy: dot.getAttribute("cy"), r: 8 }));
    }
  }
}
