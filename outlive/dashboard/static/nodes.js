// Nodes: roles, room, why one cannot go, and drain.

import { ago, count, duration, facts, h, number, oneLine, pairs, short, size, tag } from "./text.js";
import { post } from "./net.js";
import { Table } from "./table.js";
import { buttons, closer, doer, open as openDialog } from "./dialog.js";

export const TITLE = "Nodes";
const ROLES = { head: "", stays: "", "may go": "good", draining: "warn", lost: "bad" };
const place = (row) => [...new Set([row.host, row.ip])].filter(Boolean).join("/") || short(row.id);
let drains = {};

function why(row) {
  const drain = drains[row.id];
  if (drain && !("result" in drain)) return `is being drained: ${share(drain)}`;
  if (row.role === "lost") return `lost ${ago(row.until)} ago`;
  const because = row.because.join("; ");
  if (row.silent) return ["its keeper does not answer", because].filter(Boolean).join("; ");
  if (row.role !== "draining") return because || "-";
  const left = row.until === null ? "no deadline" : `${duration(row.until - Date.now() / 1000)} left`;
  return because ? `${left}; ${because}` : left;
}

const share = ({ done, total }) => (total ? `${Math.round((100 * done) / total)} % of ${size(total)}` : "begins");

function room(row) {
  if (!row.budget) return row.keeper ? "?" : "no shelf";
  const fill = h("i");
  fill.style.width = `${Math.min(100, (100 * row.used) / row.budget)}%`;
  return h("div", { class: "bar" }, fill, h("span", {}, `${size(row.used)} of ${size(row.budget)}`));
}

const COLUMNS = [
  { label: "Node", sort: "host", wide: true, cell: (row) => oneLine(`${row.host || row.ip} ${short(row.id)}`) },
  { label: "Role", sort: "role", cell: (row) => tag(row.silent ? "silent" : row.role, row.silent ? "bad" : ROLES[row.role]) },
  { label: "Memory used", sort: "used", class: "bar-cell", cell: room },
  { label: "Arrays", short: "arrays", sort: "arrays", right: true, cell: (row) => number(row.arrays) },
  { label: "Only here", short: "only here", sort: "alone_bytes", right: true, cell: (row) => (row.alone === null ? (row.keeper ? "?" : "-") : `${number(row.alone)}, ${size(row.alone_bytes)}`) },
  { label: "Why it cannot go", wide: true, cell: (row) => oneLine(why(row)) },
];

export function open(main, page) {
  const top = h("div");
  const text = h("input", { type: "search", placeholder: "host, ip, id, role" });
  const status = h("div", { role: "status" });
  main.append(top, h("div", { class: "tools" }, h("label", {}, "Search", text)), status);
  const table = new Table({
    path: "nodes", kind: "nodes", label: TITLE, columns: COLUMNS, none: "No node is known.", sort: "", order: "up",
    parameters: () => ({ q: text.value }),
    opened: (row) => show(row, page),
    failed: page.failed,
    answered: (found) => {
      drains = found.drains;
      page.counted("nodes", found.all);
      const scaler = { true: "removes idle nodes", false: "none", null: "not known" }[found.autoscaler];
      top.replaceChildren(facts([["Nodes", number(found.all)], ["Autoscaler", scaler]]));
      tell(status);
    },
  });
  main.append(table.box);
  text.addEventListener("input", () => table.restart());
  return {
    close: () => table.close(),
    heard: (event) => {
      if (event.feed === "nodes") table.refresh();
      if (event.feed !== "drain") return;
      drains[event.node] = event;
      tell(status);
      table.redraw();
    },
  };
}

function tell(status) {
  status.replaceChildren(...Object.entries(drains).map(([node, drain]) => {
    if (!("result" in drain)) {
      return h("p", {}, `Draining ${short(node)}: ${share(drain)}`, h("progress", { max: drain.total || 1, value: drain.done, "aria-label": `Draining ${short(node)}` }));
    }
    if (drain.error) return h("p", {}, tag(`Draining ${short(node)} failed: ${drain.error}`, "bad"));
    const copied = `${short(node)}: ${count(drain.result.arrays, "array")}, ${size(drain.result.nbytes)}, copied to other nodes`;
    return h("p", {}, drain.result.stayed ? tag(`${copied}; ${drain.result.stayed}`, "warn") : tag(copied, "good"));
  }));
}

function show(row, page) {
  const facts = pairs([
    ["Id", h("code", {}, row.id)],
    ["Host", oneLine(place(row))],
    ["Role", tag(row.role, ROLES[row.role])],
    ["Arrays", `${number(row.arrays)}, ${size(row.nbytes)}`],
    ["Only here", row.alone === null ? "not known" : `${count(row.alone, "array")}, ${size(row.alone_bytes)}`],
    ["In memory", room(row)],
    ["On disk", row.disk_budget ? `${count(row.spilled, "array")}, ${size(row.disk_used)} of ${size(row.disk_budget)}` : "nothing is spilled"],
    row.path && ["Shelf", h("code", {}, row.path)],
    row.on_disk && ["Shelf is on disk", oneLine(row.on_disk)],
    ["Why it cannot go", oneLine(why(row))],
  ]);
  const can = row.keeper && !page.readOnly && row.role !== "lost";
  openDialog(`Node ${short(row.id)}`, [facts, buttons(can ? doer("Drain ...", () => preview(row)) : null, closer())]);
}

async function preview(row) {
  const found = await post("drain/preview", { node: row.id });
  const node = found.node;
  const bytes = node.alone_bytes ?? node.nbytes;
  const fits = found.room >= bytes;
  const asked = found.answered === found.others ? "" : ` (${found.others - found.answered} of ${found.others} did not answer)`;
  const facts = pairs([
    ["To be copied", node.alone === null ? "not known: its keeper did not answer in time" : `${count(node.alone, "array")}, ${size(node.alone_bytes)}`],
    ["Room elsewhere", tag(`${size(found.room)} on ${count(found.others, "other node")}${asked}`, fits ? "good" : "bad")],
    ["Why it cannot go", oneLine(why(node))],
  ]);
  const words = [
    found.others === 0 ? "No other node has a shelf yet: one may be started there." : null,
    found.others && !fits ? "Not all of it fits: what does not stays, and the node with it." : null,
    node.role === "head" ? "The head stays a part of the cluster; only its arrays are copied." : "Once they are copied, its keeper leaves, and an autoscaler may take the node.",
    "Programs can go on meanwhile.",
  ];
  const go = doer("Drain it", async () => {
    await post("drain", { preview: found.preview });
    openDialog("Draining has begun", [h("p", {}, "The view of the nodes shows how far it is."), buttons(closer())]);
  }, { class: "main" });
  openDialog(`Drain ${short(node.id)} (${oneLine(place(node))})?`, [facts, h("p", {}, words.filter(Boolean).join(" ")), buttons(go, closer("Cancel"))]);
}
