// What the last two minutes were like: tiles, charts and the table of sizes.

import { byId, el, fill, meter, say, show, sizeName } from "./dom.js";
import { lines, stacked } from "./charts.js";
import { ms, number, percent, plural, whole } from "./words.js";

const JUST_NOW_S = 10;
const MEANING = { 400: "wrong", 404: "not there", 413: "too large", 503: "busy", 504: "too late" };

export function showTraffic(state, model) {
  const { recent } = state;
  const rows = rowsOf(state, model);
  const refused = recent.refused.reduce((sum, count) => sum + count, 0);
  tiles(state, model, refused);
  show(byId("quiet"), recent.all.answers === 0 && refused === 0);
  show(byId("charts"), recent.all.answers > 0 || refused > 0);
  if (recent.all.answers || refused) charts(recent, rows, model.budget_ms);
  table(rows, recent.all, recent.every_s);
}

// One row a size that is served, and one for each that answered and is gone since.
function rowsOf({ recent, answered }, model) {
  const figures = new Map(recent.points.map((one) => [one.name, one]));
  const totals = new Map(answered.map((one) => [one.name, one.answers]));
  const idle = { answers: 0, p50_ms: null, p99_ms: null, with_budget: 0, in_time: 0, series: recent.refused.map(() => 0) };
  const known = new Set(model.points.map((point) => point.name));
  const gone = recent.points.filter((one) => !known.has(one.name));
  const points = [...model.points, ...gone.map((one) => ({ name: one.name, shown: `${one.name} (no longer served)`, tone: "median" }))];
  return points.map((point) => ({ point, since: totals.get(point.name) ?? 0, ...idle, ...figures.get(point.name) }));
}

function tiles({ recent, waiting, slowdown }, model, refused) {
  const { all, every_s: every } = recent;
  const slots = Math.round(JUST_NOW_S / every);
  const justNow = recent.points.reduce((sum, one) => sum + one.series.slice(-slots).reduce((a, b) => a + b, 0), 0);
  say(byId("rate"), number(justNow / JUST_NOW_S));
  say(byId("p50"), ms(all.p50_ms));
  say(byId("p99"), ms(all.p99_ms));
  const budget = model.budget_ms;
  say(byId("p50-note"), all.answers ? `of ${plural(all.answers, "answer")}` : "");
  say(byId("p99-note"), budget === null ? "no default budget" : `default budget ${ms(budget)}`);
  byId("p99").parentElement.classList.toggle("is-bad", budget !== null && all.p99_ms > budget);
  say(byId("intime"), all.with_budget ? percent(all.in_time / all.with_budget) : "–");
  say(byId("intime-note"), all.with_budget ? `of ${whole(all.with_budget)} with a budget` : "no budgets given");
  byId("intime").parentElement.classList.toggle("is-bad", all.with_budget > 0 && all.in_time / all.with_budget < 0.99);
  say(byId("refused"), whole(refused));
  const kinds = recent.refusals.map(({ status, count }) => `${whole(count)} ${MEANING[status] ?? "other"} (${status})`);
  say(byId("refused-note"), kinds.join(", "));
  byId("refused").parentElement.classList.toggle("is-bad", recent.refusals.some(({ status }) => status >= 500));
  say(byId("waiting"), whole(waiting));
  say(byId("waiting-note"), `calls take ${number(slowdown, 2)}× as measured`);
}

function charts(recent, rows, budget) {
  const layers = rows.map(({ point, series }) => ({ shown: point.shown, tone: point.tone, values: series }));
  stacked(byId("stack"), [...layers, { shown: "refused", tone: "refused", values: recent.refused }], recent.every_s);
  const found = [
    { shown: "median", tone: "median", values: recent.p50_ms },
    { shown: "99% within", tone: "slow", values: recent.p99_ms },
  ];
  lines(byId("lines"), found, budget, recent.every_s);
}

function table(rows, all, every) {
  const seconds = every * (rows[0]?.series.length ?? 60);
  const line = (row) => {
    const share = all.answers ? row.answers / all.answers : 0;
    return el(
      "tr",
      {},
      sizeName(row.point),
      el("td", { class: "left share" }, meter(share, row.point.tone), all.answers ? percent(share) : "–"),
      el("td", {}, number(row.answers / seconds)),
      el("td", {}, ms(row.p50_ms)),
      el("td", {}, ms(row.p99_ms)),
      el("td", {}, row.with_budget ? percent(row.in_time / row.with_budget) : "–"),
      el("td", {}, whole(row.since)),
    );
  };
  fill(byId("traffic-rows"), rows.map(line));
}
