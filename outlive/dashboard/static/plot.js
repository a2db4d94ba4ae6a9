// Lines over time, as SVG. Where the cluster did not answer, there is a gap.

import { h } from "./text.js";

const SPACE = "http://www.w3.org/2000/svg";
const HEIGHT = 170;
const EDGE = { left: 62, right: 8, top: 8, bottom: 22 };

function s(name, attributes, ...children) {
  const element = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

// The largest step of 1, 2 or 5 times a power that makes three or more lines; sizes step by powers of two.
function steps(most, binary) {
  if (most <= 0) return [0, 1];
  let step = binary ? 2 ** Math.floor(Math.log2(most / 2)) : 10 ** Math.floor(Math.log10(most));
  if (!binary) {
    while (most / step < 3) step /= step.toString().startsWith("1") ? 2 : step.toString().startsWith("5") ? 2.5 : 2;
    step = Math.max(1, Math.round(step));
  }
  const found = [];
  for (let at = 0; at < most + step; at += step) found.push(at);
  return found;
}

// series: {label, values}. told(value): as text.
export function plot({ title, times, series, told, binary }) {
  const drawn = h("div");
  const figure = h("figure", { class: "plot" }, h("h3", {}, title), drawn, legend(series, told));
  const draw = () => drawn.replaceChildren(lines({ title, times, series, told, binary, width: drawn.clientWidth || 500 }));
  const observer = new ResizeObserver(draw);
  observer.observe(drawn);
  figure.close = () => observer.disconnect();
  return figure;
}

function lines({ title, times, series, told, binary, width }) {
  const known = series.flatMap((one) => one.values).filter((value) => value !== null);
  const marks = steps(Math.max(0, ...known), binary);
  const most = marks.at(-1);
  const [from, to] = [times[0] ?? 0, Math.max(times.at(-1) ?? 1, (times[0] ?? 0) + 60)];
  const x = (at) => EDGE.left + ((at - from) / (to - from)) * (width - EDGE.left - EDGE.right);
  const y = (value) => HEIGHT - EDGE.bottom - (value / most) * (HEIGHT - EDGE.top - EDGE.bottom);
  const parts = [s("title", {}, `${title}, ${series.map((one) => `${one.label}: ${range(one.values, told)}`).join("; ")}`)];
  for (const mark of marks) {
    parts.push(s("line", { class: "grid", x1: EDGE.left, x2: width - EDGE.right, y1: y(mark), y2: y(mark) }));
    parts.push(s("text", { x: EDGE.left - 6, y: y(mark) + 4, "text-anchor": "end" }, told(mark)));
  }
  for (const [at, anchor] of [[from, "start"], [(from + to) / 2, "middle"], [to, "end"]]) {
    const text = new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: to - from < 600 ? "2-digit" : undefined });
    parts.push(s("text", { x: x(at), y: HEIGHT - 5, "text-anchor": anchor }, text));
  }
  series.forEach((one, place) => {
    for (const run of runs(times, one.values)) {
      const points = run.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`);
      if (run.length === 1) points.push(`${(x(run[0][0]) + 2).toFixed(1)},${y(run[0][1]).toFixed(1)}`);
      if (place === 0) {
        const [first, last] = [x(run[0][0]), x(run.at(-1)[0])];
        parts.push(s("path", { class: "area", d: `M${first},${y(0)}L${points.join("L")}L${last},${y(0)}Z` }));
      }
      parts.push(s("path", { class: `s${place}`, d: `M${points.join("L")}` }));
    }
  });
  return s("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, role: "img" }, ...parts);
}

// The parts of a series without gaps.
function runs(times, values) {
  const found = [[]];
  times.forEach((at, place) => {
    if (values[place] !== null) found.at(-1).push([at, values[place]]);
    else if (found.at(-1).length) found.push([]);
  });
  return found.filter((run) => run.length);
}

function range(values, told) {
  const known = values.filter((value) => value !== null);
  if (!known.length) return "not known";
  const [now, least, most] = [values.at(-1), Math.min(...known), Math.max(...known)].map((value) => (value === null ? "not known" : told(value)));
  return least === most ? `now ${now}` : `now ${now}, from ${least} to ${most}`;
}

function legend(series, told) {
  return h("figcaption", { class: "legend" }, series.map((one, place) => {
    const sample = s("svg", { viewBox: "0 0 26 10", "aria-hidden": "true" }, s("path", { class: `s${place}`, d: "M0,5L26,5" }));
    return h("span", {}, sample, `${one.label}: ${range(one.values, told)}`);
  }));
}
