// Workers: who is idle and why, what would come back, and trim.

import { count, duration, facts, h, number, oneLine, pairs, short, size, tag } from "./text.js";
import { post } from "./net.js";
import { Table } from "./table.js";
import { buttons, closer, doer, open as openDialog } from "./dialog.js";

export const TITLE = "Workers";
const STATES = { running: "good", idle: "warn", leaving: "", actor: "", io: "", silent: "bad" };

const COLUMNS = [
  { label: "PID", short: "pid", sort: "pid", cell: (row) => String(row.pid) },
  { label: "State", sort: "state", cell: (row) => tag(row.state, STATES[row.state]) },
  { label: "Idle for", short: "idle for", sort: "idle_for", right: true, cell: (row) => (row.idle_for === null ? "-" : duration(row.idle_for)) },
  { label: "Memory", sort: "unique", right: true, cell: (row) => size(row.unique) },
  { label: "Owns", short: "owns", sort: "owned", right: true, cell: (row) => number(row.owned) },
  { label: "Last task", sort: "function", minor: true, spare: true, cell: (row) => oneLine(row.function ?? "-") },
  { label: "Why it is still here", wide: true, cell: (row) => oneLine(row.why[0]?.text ?? "-") },
  { label: "Node", short: "node", sort: "node", cell: (row) => short(row.node) },
];

export function open(place, page) {
  const top = h("div");
  const reasons = h("ul", { class: "reasons", "aria-label": "Idle workers by reason" });
  const state = h("select", {}, h("option", { value: "" }, "any"), Object.keys(STATES).map((one) => h("option", { value: one }, one)));
  const text = h("input", { type: "search", placeholder: "pid, task, reason, job" });
  const trim = h("button", { type: "button", class: "main", onclick: () => askTrim(page) }, "Let idle workers go ...");
  const notes = h("ul", { class: "quiet" });
  const tools = h("div", { class: "tools" }, h("label", {}, "State", state), h("label", {}, "Search", text), h("span", { class: "spring" }, trim));
  place.append(top, reasons, tools);
  const table = new Table({
    path: "workers", kind: "workers", label: TITLE, columns: COLUMNS, none: "There is no worker process.", sort: "unique", order: "down",
    parameters: () => ({ state: state.value, q: text.value }),
    opened: (row) => show(row, page),
    failed: page.failed,
    answered: ({ totals, unseen, nodes }) => {
      page.counted("workers", totals.workers);
      top.replaceChildren(facts([
        ["Workers", number(totals.workers)],
        ["Idle", number(totals.idle)],
        ["Held by idle workers", size(totals.idle_unique)],
        ["Trim can free", size(totals.free)],
      ]));
      reasons.replaceChildren(...Object.entries(totals.kinds).map(([kind, [workers, bytes]]) => h("li", {}, `${kind}: ${number(workers)}, ${size(bytes)}`)));
      const errors = nodes.filter((node) => node.error).map((node) => `node ${short(node.id)}: ${node.error}`);
      notes.replaceChildren(...[...new Set([...errors, ...unseen])].slice(0, 6).map((one) => h("li", {}, tag(oneLine(one), "bad"))));
    },
  });
  place.append(notes, table.box);
  state.addEventListener("change", () => table.restart());
  text.addEventListener("input", () => table.restart());
  const began = () => { trim.hidden = page.readOnly; };
  began();
  return { began, close: () => table.close(), heard: ({ feed }) => feed === "workers" && table.refresh() };
}

function show(row, page) {
  const why = row.why.map((one) => h("li", {}, oneLine(one.text), one.remedy && h("div", { class: "quiet" }, oneLine(one.remedy))));
  const facts = pairs([
    ["State", tag(row.state, STATES[row.state])],
    ["Node", h("code", {}, row.node)],
    ["Worker", h("code", {}, row.id)],
    ["Job", row.job ?? "none yet"],
    ["Process", oneLine(row.title ?? "?")],
    ["Last task", oneLine(row.function ?? "-")],
    ["Tasks", `${number(row.tasks)} run, ${number(row.pending)} waited for`],
    ["Memory of its own", size(row.unique)],
    ["Shared with others", size(row.shared)],
    ["Objects", `${number(row.owned)} owned, ${number(row.borrowed)} borrowed`],
    ["Why it is still here", h("ul", {}, why)],
  ]);
  const go = row.retirable && !page.readOnly && doer("Let it go ...", () => preview({ workers: [row.id] }));
  openDialog(`Worker ${row.pid}`, [facts, buttons(go || null, closer())]);
}

function askTrim() {
  const field = (name, label, attributes) => h("label", {}, label, h("input", { name, ...attributes }));
  const form = h("form", { method: "dialog" },
    h("p", {}, "On each node, the largest idle workers leave until these bounds hold. One that runs a task or owns an object is never touched."),
    h("div", { class: "fields" },
      field("max_idle", "Idle, at most", { type: "number", min: 0, value: "0", autofocus: true }),
      field("min_idle", "Idle, at least", { type: "number", min: 0, placeholder: "0" }),
      field("max_memory", "Memory, at most", { placeholder: "as 2GiB" }),
      field("job", "Only of job", { placeholder: "any" })));
  const look = doer("Show which", () => preview(limits(form)), { class: "main" });
  form.addEventListener("submit", (event) => { event.preventDefault(); look.click(); });
  form.append(h("button", { hidden: true }), buttons(look, closer("Cancel")));
  openDialog("Let idle workers go", form);
}

function limits(form) {
  const given = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
  for (const name of ["max_idle", "min_idle"]) if (name in given) given[name] = Number(given[name]);
  if (given.min_idle > given.max_idle) throw new Error('"Idle, at least" is more than "Idle, at most".');
  return given;
}

async function preview(wanted) {
  const found = await post("trim/preview", wanted);
  const spared = found.spared.length && h("details", {}, h("summary", {}, `${count(found.spared.length, "idle worker")} cannot go`),
    h("ul", { class: "list" }, found.spared.map((row) => h("li", {}, `pid ${row.pid}, ${size(row.unique)}: ${oneLine(row.why[0]?.text ?? "")}`))));
  if (!found.chosen.length) {
    openDialog("No worker would leave", [h("p", {}, "No idle worker is beyond these bounds, or none may go."), spared || null, missing(found), buttons(closer())]);
    return;
  }
  const chosen = h("ul", { class: "list", "aria-label": "Workers that would leave" },
    found.chosen.map((row) => h("li", {}, `pid ${row.pid} on ${short(row.node)}, ${size(row.unique)}: ${oneLine(row.because)}`)));
  const go = doer(`Let ${count(found.chosen.length, "worker")} go`, async () => done(await post("trim", { preview: found.preview })), { class: "main" });
  openDialog(`${count(found.chosen.length, "worker")} would leave`, [h("p", {}, `${size(found.freed)} would come back.`), chosen, spared || null, missing(found), buttons(go, closer("Cancel"))]);
}

function done(result) {
  const left = result.chosen.filter((row) => row.left).length;
  const list = h("ul", { class: "list" }, result.chosen.map((row) => h("li", {}, `pid ${row.pid}, ${size(row.unique)}: ${oneLine(row.outcome)}`)));
  openDialog(`${count(left, "worker")} ${left === 1 ? "has" : "have"} left`, [h("p", {}, `${size(result.freed)} came back.`), list, missing(result), buttons(closer())]);
}

const missing = (result) => result.unseen.length ? h("ul", {}, result.unseen.slice(0, 5).map((one) => h("li", {}, tag(`not seen: ${oneLine(one)}`, "bad")))) : null;
