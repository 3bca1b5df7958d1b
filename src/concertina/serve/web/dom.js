// Nodes of the page. Text only ever enters it as text.

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

// Change a node's text where it differs, so that nothing is read out twice.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export function show(node, wanted) {
  if (node.hidden === wanted) node.hidden = !wanted;
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, String(value));
  node.append(...children);
  return node;
}

export const el = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);

export const drawn = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS(SVG, tag), attributes, children);

// A bar whose length is a share; its number stands beside it.
export function meter(share, tone = "") {
  const inner = el("i", {});
  inner.style.width = `${Math.min(100, Math.max(0, 100 * share))}%`;
  return el("span", { class: `meter ${tone}`, "aria-hidden": "true" }, inner);
}

// The name of a size with its colour.
export function sizeName(point, scope = "row") {
  const swatch = el("span", { class: `swatch ${point.tone}`, "aria-hidden": "true" });
  return el("th", { scope }, swatch, el("bdi", {}, point.shown));
}

// Put rows into a table without moving it where nothing is new.
export function fill(body, rows) {
  body.replaceChildren(...rows);
}

const TAGS = new Set(["svg", "g", "path", "circle", "polyline", "text", "title", "desc"]);

// A copy of a drawing made of known shapes alone.
export function copied(node) {
  const made = document.createElementNS(SVG, node.localName);
  for (const { name, value } of node.attributes) {
    if (!name.startsWith("on") && !name.includes("href") && !name.startsWith("xmlns")) made.setAttribute(name, value);
  }
  for (const child of node.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) made.append(child.data);
    else if (child.nodeType === Node.ELEMENT_NODE && TAGS.has(child.localName)) made.append(copied(child));
  }
  return made;
}
