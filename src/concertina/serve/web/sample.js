// The sample: an image dropped, pasted or chosen, numbers, or a random input; it goes to the server as it is.

import { byId, say, show } from "./dom.js";
import { setAnswers } from "./dial.js";

const MOST_BYTES = 32 * 1024 * 1024;

let model = null;
let image = null;
let seed = 0;
let current = null;
let asked = 0;

export function startSamples() {
  byId("file").addEventListener("change", ({ target }) => target.files.length && take(target.files[0]));
  byId("invert").addEventListener("change", () => image && look());
  byId("white").addEventListener("change", () => image && look());
  byId("random").addEventListener("click", draw);
  byId("ask").addEventListener("click", askNumbers);
  document.addEventListener("paste", ({ clipboardData }) => {
    const file = [...clipboardData.files].find(({ type }) => type.startsWith("image/"));
    if (file) take(file);
  });
  let depth = 0;
  const drop = (change) => (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    depth = change(depth);
    document.body.classList.toggle("is-dropping", depth > 0);
  };
  document.addEventListener("dragenter", drop((now) => now + 1));
  document.addEventListener("dragleave", drop((now) => Math.max(0, now - 1)));
  document.addEventListener("dragover", drop((now) => now));
  document.addEventListener("drop", (event) => {
    drop(() => 0)(event);
    if (event.dataTransfer?.files.length) take(event.dataTransfer.files[0]);
  });
}

// What samples may be; the one that is there goes to the sizes that are there now.
export function setModel(found) {
  model = found;
  const { sample } = model;
  const isImage = sample.kind === "image";
  show(byId("image-sample"), isImage);
  byId("numbers-sample").open ||= !isImage;
  if (isImage) {
    const colours = sample.channels === 1 ? "grey" : "colour";
    say(byId("frame"), `The network takes ${sample.width} × ${sample.height} pixels, ${colours}; the middle of the image is resized to that.`);
    show(byId("white-label"), sample.white === null);
  }
  const isWhole = model.inputs[0].whole;
  say(byId("numbers-label"), isWhole ? "Token ids of one sample" : "Numbers of one sample, as the network takes them");
  const shapes = model.inputs.map(({ name, shape, longest }) => `${name}: ${shape.map((side) => (side < 0 ? `1 to ${longest}` : side)).join(" × ")}`);
  say(byId("numbers-hint"), `${shapes.join("; ")} numbers, with commas or blanks between them, or as JSON.${isWhole ? "" : " They are not preprocessed."}`);
  if (current) send();
}

function trouble(text) {
  say(byId("trouble"), text);
  show(byId("trouble"), text !== "");
}

async function take(file) {
  if (model?.sample.kind !== "image") return trouble("This network does not take images.");
  if (file.size > MOST_BYTES) return trouble(`${file.name}: larger than ${MOST_BYTES / 1024 / 1024} MiB.`);
  try {
    const found = await createImageBitmap(file);
    image?.bitmap.close();
    image = { bitmap: found, name: file.name };
  } catch {
    return trouble(`${file.name}: no image that this browser can read.`);
  }
  look();
}

// The middle of the image, no finer than the server takes it, on white.
function look() {
  const { width, height, longest } = model.sample;
  const { bitmap, name } = image;
  const part = Math.min(bitmap.width / width, bitmap.height / height);
  const scale = Math.min(longest / Math.max(width, height), Math.max(1, part));
  const canvas = new OffscreenCanvas(Math.round(width * scale), Math.round(height * scale));
  paint(canvas, bitmap, part * width, part * height);
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  preview(canvas);
  const query = new URLSearchParams({ kind: "pixels", width: canvas.width, height: canvas.height });
  if (byId("invert").checked) query.set("invert", "1");
  if (model.sample.white === null) query.set("white", byId("white").value);
  current = { query, body: pixels.data, name };
  send();
}

function paint(canvas, source, width, height) {
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.imageSmoothingQuality = "high";
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  const left = (source.width - width) / 2;
  const top = (source.height - height) / 2;
  context.drawImage(source, left, top, width, height, 0, 0, canvas.width, canvas.height);
}

function preview(canvas) {
  const { width, height, channels } = model.sample;
  const seen = byId("seen");
  show(seen, true);
  seen.width = width;
  seen.height = height;
  const context = seen.getContext("2d");
  const swap = byId("invert").checked ? " invert(1)" : "";
  context.filter = `${channels === 1 ? "grayscale(1)" : "brightness(1)"}${swap}`;
  context.imageSmoothingQuality = "high";
  context.drawImage(canvas, 0, 0, width, height);
}

function draw() {
  seed += 1;
  current = { query: new URLSearchParams({ kind: "random", seed }), body: null, name: `random input ${seed}` };
  send();
}

function askNumbers() {
  const text = byId("numbers").value.trim();
  const parts = text.split(/[\s,;]+/).filter(Boolean);
  const isJson = /^[[{]/.test(text);
  const wrong = isJson ? undefined : parts.find((part) => !Number.isFinite(Number(part)));
  if (wrong !== undefined) return trouble(`“${wrong.slice(0, 40)}” is no number.`);
  if (!text) return trouble("There are no numbers yet; a random input shows what they look like.");
  const body = isJson ? text : JSON.stringify(parts.map(Number));
  current = { query: new URLSearchParams({ kind: "numbers" }), body, name: "numbers" };
  send();
}

// Ask every size at once; only the answer to the latest sample counts.
async function send() {
  const mine = ++asked;
  const { query, body, name } = current;
  say(byId("sample-name"), `asking about ${name} …`);
  let text = "";
  let answers = [];
  try {
    const response = await fetch(`page/try?${query}`, { method: "POST", body, signal: AbortSignal.timeout(120000) });
    const told = await response.json();
    if (!response.ok) text = told.error ?? `The server answered with status ${response.status}.`;
    else {
      answers = told.answers;
      if (mine === asked && told.numbers) byId("numbers").value = told.numbers;
    }
  } catch {
    text = "The server did not answer. The sample is asked again once it does.";
  }
  if (mine !== asked) return;
  say(byId("sample-name"), name);
  trouble(text);
  setAnswers(answers);
}
