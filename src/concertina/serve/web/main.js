// The page: asks the server every other second how it is, and shows what has changed.

import { byId, say, show } from "./dom.js";
import { setSizes, startDial } from "./dial.js";
import { showPlot, showWorth } from "./plot.js";
import { setModel, startSamples } from "./sample.js";
import { showTraffic } from "./traffic.js";
import { count, plural } from "./words.js";

const EVERY_MS = 2000;
const SLOWEST_MS = 15000;
const TONES = 6;

let model = null;
let latest = null;
let revision = "";
let version = "";
let failures = 0;
let timer = 0;
let heard = new Date();

async function asked(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(8000), cache: "no-store" });
  if (!response.ok) throw new Error(`status ${response.status}`);
  return response.json();
}

async function tick() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const state = await asked("page/state");
    if (version && state.version !== version) return location.reload();
    version = state.version;
    if (state.ready && (state.revision !== revision || !model)) await renew();
    failures = 0;
    tell(state);
    latest = state;
    heard = new Date();
    if (state.ready && model) showTraffic(state, model);
  } catch {
    failures += 1;
    gone();
  }
  timer = setTimeout(tick, Math.min(SLOWEST_MS, EVERY_MS * 2 ** Math.max(0, failures - 2)));
}

// Take in what is served now: at the start, after a new file took over, and as a file grows.
async function renew() {
  const found = await asked("page/model");
  const last = Math.max(1, found.points.length - 1);
  found.points.forEach((point, i) => (point.tone = `s${Math.round((i * (TONES - 1)) / last)}`));
  model = found;
  revision = found.revision;
  say(byId("name"), model.shown);
  show(byId("wait"), false);
  show(byId("main"), true);
  document.title = `${model.shown} · Concertina`;
  say(byId("source"), [model.source, model.task, model.classes ? plural(model.classes, "class", "classes") : "", model.runtime, model.licence].filter(Boolean).join(" · "));
  say(byId("address"), `POST ${new URL("v2/models/", location.href)}${encodeURIComponent(model.name)}/infer`);
  showWorth(model);
  showPlot(model);
  setSizes(model);
  setModel(model);
}

function tell(state) {
  document.body.classList.remove("is-gone");
  say(byId("traffic-title"), "Traffic, last two minutes");
  document.body.classList.toggle("is-ready", state.ready);
  const { arriving } = state;
  const isComing = Boolean(arriving?.to_come.length);
  const sizes = state.ready ? plural(model.points.length, "size") : "";
  if (state.closing) say(byId("state"), "Closing: what waits is answered, nothing more is taken");
  else if (!state.ready) say(byId("state"), "Warming up: every size is run and timed");
  else if (arriving?.error) say(byId("state"), `Serving ${sizes}; the rest of the file did not come`);
  else if (isComing) say(byId("state"), `Serving ${sizes} of ${model.points.length + arriving.to_come.length}; the file is still arriving`);
  else say(byId("state"), `Serving ${sizes}`);
  if (!model) say(byId("name"), state.name);
  show(byId("arriving"), isComing);
  if (isComing) {
    byId("progress").value = arriving.bytes / arriving.of;
    say(byId("arrived"), arriving.error || `${count(arriving.bytes, "B")} of ${count(arriving.of, "B")} have arrived`);
  }
}

function gone() {
  document.body.classList.remove("is-ready");
  document.body.classList.add("is-gone");
  say(byId("state"), "The server does not answer; trying again");
  if (model) say(byId("traffic-title"), `Traffic, two minutes up to ${heard.toLocaleTimeString()}`);
}

startDial();
startSamples();
document.addEventListener("visibilitychange", tick);
let width = 0;
new ResizeObserver(([{ contentRect }]) => {
  if (!contentRect.width) return;
  if (model && width && Math.abs(contentRect.width - width) > 20) {
    showPlot(model);
    if (latest?.ready) showTraffic(latest, model);
  }
  width = contentRect.width;
}).observe(byId("worth"));
tick();
