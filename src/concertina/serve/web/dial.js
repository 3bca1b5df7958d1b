// The dial: every size has answered the same sample; the dial shows one of the answers.

import { byId, el, fill, meter, say, show, sizeName } from "./dom.js";
import { mark } from "./plot.js";
import { ms, number, percent } from "./words.js";

let points = [];
let answers = new Map();

export function startDial() {
  byId("dial").addEventListener("input", turn);
  byId("sizes-rows").addEventListener("click", ({ target }) => {
    const row = target.closest("tr");
    if (row) turnTo([...byId("sizes-rows").children].indexOf(row));
  });
}

// The sizes there are; the dial stays at the size it was at, or at the largest.
export function setSizes(model) {
  const dial = byId("dial");
  const before = dial.value === dial.max ? "" : points[dial.valueAsNumber].name;
  points = model.points;
  const place = points.findIndex((point) => point.name === before);
  dial.max = String(points.length - 1);
  dial.value = String(place < 0 ? points.length - 1 : place);
  dial.disabled = points.length < 2;
  answers = new Map();
  turn();
}

export function setAnswers(found) {
  answers = new Map(found.map((answer) => [answer.name, answer]));
  const failed = found.filter((answer) => answer.error).length;
  say(byId("told"), failed ? `${failed} of ${found.length} sizes did not answer.` : `All ${found.length} sizes have answered. ${words()}`);
  turn();
}

function turnTo(place) {
  byId("dial").value = String(place);
  turn();
}

const here = () => points[byId("dial").valueAsNumber];

function turn() {
  const point = here();
  if (!point) return;
  say(byId("dial-name"), `${point.shown}: ${percent(point.share)} of the MACs, ${ms(point.latency_ms)}`);
  byId("dial").setAttribute("aria-valuetext", words());
  mark(point.shown);
  verdict(answers.get(point.name));
  table();
}

// The answer of the size on the dial in a few words.
function words() {
  const point = here();
  const answer = answers.get(point.name);
  const size = `${point.shown}, ${percent(point.share)} of the MACs`;
  return answer ? `${size}: ${labelOf(answer)} ${sureOf(answer)}` : size;
}

function labelOf(answer) {
  if (answer.error) return "no answer";
  if (answer.best) return answer.best[0].label;
  const listed = answer.numbers.slice(0, 3).map((value) => (value === null ? "not a number" : number(value)));
  return listed.join(", ") + (answer.of > 3 ? ", …" : "");
}

function sureOf(answer) {
  if (answer.error) return "";
  if (answer.best) return percent(answer.best[0].share);
  return answer.like_largest === null ? "" : `${number(answer.like_largest)} like the largest`;
}

function verdict(answer) {
  show(byId("verdict"), answer !== undefined);
  say(byId("label"), answer ? labelOf(answer) : "–");
  say(byId("sure"), answer ? sureOf(answer) : "");
  say(byId("verdict-note"), noteOf(answer));
  const bars = (answer?.best ?? []).map(({ label, share }) =>
    el("li", {}, el("bdi", { title: label }, label), meter(share, here().tone), el("span", {}, percent(share))),
  );
  fill(byId("best"), bars.length ? bars : numbersOf(answer));
}

function noteOf(answer) {
  if (!answer) return points.length ? "Give a sample to see what each size answers." : "";
  if (answer.error) return answer.error;
  const time = `Computed in ${ms(answer.compute_ms)}`;
  const largest = answers.get(points.at(-1).name);
  if (answer.best && largest?.best && answer !== largest) {
    const isSame = answer.best[0].number === largest.best[0].number;
    return `${time}. ${isSame ? "The largest size says the same" : `The largest size says ${largest.best[0].label}`}.`;
  }
  return answer.best ? `${time}.` : `${time}. Output of shape ${answer.shape.join(" × ")}; its first numbers are below.`;
}

function numbersOf(answer) {
  return (answer?.numbers ?? []).map((value, i) =>
    el("li", {}, el("span", {}, `number ${i + 1}`), el("span", {}), el("span", {}, value === null ? "not finite" : number(value, 4))),
  );
}

function table() {
  show(byId("sizes"), answers.size > 0);
  const hasClasses = [...answers.values()].some((answer) => answer.best);
  say(byId("sure-title"), hasClasses ? "confidence" : "like the largest");
  const line = (point) => {
    const answer = answers.get(point.name) ?? { error: "not asked" };
    const sure = answer.best ? percent(answer.best[0].share) : answer.error ? "–" : number(answer.like_largest);
    const row = el(
      "tr",
      {},
      sizeName(point),
      el("td", { class: "left" }, el("bdi", {}, answer.error ?? labelOf(answer))),
      el("td", {}, sure),
      el("td", {}, answer.error ? "–" : number(answer.compute_ms, 2)),
    );
    if (point === here()) row.setAttribute("aria-current", "true");
    return row;
  };
  fill(byId("sizes-rows"), answers.size ? points.map(line) : []);
}
