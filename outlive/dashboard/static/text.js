// Elements and words. Text only ever becomes textContent: a key may be any text, as "<script>".

export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "class") element.className = value;
    else if (key === "value") element.value = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((one) => one !== null && one !== undefined).map((one) => (one instanceof Node ? one : String(one))));
  return element;
}

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];

export function size(bytes) {
  if (bytes === null || bytes === undefined) return "?";
  let power = 0;
  while (bytes >= 1023.95 && power < UNITS.length - 1) [bytes, power] = [bytes / 1024, power + 1];
  return power ? `${bytes.toFixed(1)} ${UNITS[power]}` : `${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "?";
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 48 * 3600) return `${Math.floor(whole / 3600)} h`;
  return `${Math.floor(whole / 86400)} d`;
}

export const ago = (moment) => (moment === null || moment === undefined ? "?" : duration(Date.now() / 1000 - moment));
export const clock = (moment) => new Date(moment * 1000).toLocaleTimeString();
export const number = (value) => (value === null || value === undefined ? "?" : value.toLocaleString("en"));
export const count = (value, noun) => `${number(value)} ${noun}${value === 1 ? "" : "s"}`;
export const short = (id) => (id ? id.slice(0, 8) : "-");

// A key on one line: what cannot be seen is shown as an escape.
export const oneLine = (text) => String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (letter) => `\\u{${letter.codePointAt(0).toString(16)}}`);

export const pairs = (rows) => h("dl", { class: "pairs" }, rows.filter((row) => row).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
export const facts = (rows) => h("dl", { class: "facts" }, rows.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value))));

// A word with a sign before it, so that the colour is not all that tells them apart.
export const tag = (word, kind) => h("span", { class: `tag ${kind || ""}` }, h("span", { "aria-hidden": "true" }, { good: "●", warn: "▲", bad: "■" }[kind] || "○"), word);
