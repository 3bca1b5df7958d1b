// Numbers as people read them.

export const NONE = "–";

export function number(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 1e6 || (size > 0 && size < 1e-3)) return value.toExponential(1);
  if (size >= 100) return Math.round(value).toLocaleString("en");
  return String(Number(value.toPrecision(digits)));
}

export const ms = (value) => (value === null || value === undefined ? NONE : `${number(value, 2)} ms`);

export function percent(share, digits = 1) {
  if (share === null || share === undefined || !Number.isFinite(share)) return NONE;
  return share === 0 || share === 1 ? `${100 * share}%` : `${(100 * share).toFixed(digits)}%`;
}

export function count(value, unit = "") {
  for (const [factor, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= factor) return `${number(value / factor)} ${prefix}${unit}`;
  }
  return `${value} ${unit}`.trim();
}

export const whole = (value) => value.toLocaleString("en");

export const plural = (value, one, many = `${one}s`) => `${whole(value)} ${value === 1 ? one : many}`;
