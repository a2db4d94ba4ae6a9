// Arrays of one store: where each is, when it was read and what ends it; and a picture.

import { ago, clock, count, duration, facts, h, number, oneLine, pairs, short, size, tag } from "./text.js";
import { get, picture } from "./net.js";
import { Table } from "./table.js";
import { buttons, closer, open as openDialog } from "./dialog.js";

export const TITLE = "Arrays";

const form = (row) => (row.kind === "array" ? `${row.dtype} ${row.shape.join("×")}` : row.kind);
const where = (row) => (row.lost_at ? tag("lost", "bad") : row.on_disk === null ? "?" : row.on_disk ? "disk" : "memory");
const copies = (row) => (row.replicas < row.wanted ? tag(`${row.replicas} of ${row.wanted}`, "warn") : String(row.replicas));

function end(row) {
  const parts = row.ends ? [row.ends] : [];
  if (row.ends_at) parts.push(`in ${duration(row.ends_at - Date.now() / 1000)}`);
  else if (row.ttl) parts.push(`after ${duration(row.ttl)}`);
  return parts.join(", ") || "-";
}

const COLUMNS = [
  { label: "Key", sort: "key", wide: true, cell: (row) => oneLine(row.key || row.id) },
  { label: "Size", sort: "nbytes", right: true, cell: (row) => size(row.nbytes) },
  { label: "Age", short: "age", sort: "put_at", right: true, cell: (row) => ago(row.put_at) },
  { label: "Form", sort: "dtype", spare: true, cell: form },
  { label: "Node", short: "on", sort: "node", cell: (row) => short(row.node) },
  { label: "Copies", short: "copies", sort: "replicas", right: true, cell: copies },
  { label: "Last read", short: "read", minor: true, right: true, cell: (row) => (row.read_at === null ? "?" : ago(Math.max(row.read_at, row.put_at))) },
  { label: "Ends", short: "ends", cell: end },
  { label: "Where", spare: true, cell: where },
];

export function open(place, page) {
  const top = h("div");
  const stores = h("select", {}, h("option", {}, page.store));
  const prefix = h("input", { type: "search", placeholder: "as ct/", maxlength: 1024 });
  place.append(top, h("div", { class: "tools" }, h("label", {}, "Store", stores), h("label", {}, "Keys that begin with", prefix)));
  const table = new Table({
    path: "arrays", kind: "arrays", label: TITLE, columns: COLUMNS, none: "This store has no array with a key.", sort: "key", order: "up",
    parameters: () => ({ store: page.store, prefix: prefix.value }),
    opened: (row) => show(row, page),
    failed: page.failed,
    answered: (found) => {
      page.counted("arrays", Object.values(found.stores).reduce((sum, [arrays]) => sum + arrays, 0));
      top.replaceChildren(facts([
        [prefix.value ? "Arrays that begin so" : "Arrays of this store", number(found.total)],
        ["Their size", size(found.nbytes)],
        ["Stores", number(Object.keys(found.stores).length)],
        ...(found.left_out ? [["Not shown, the last ones", number(found.left_out)]] : []),
      ]));
      const names = [...new Set([page.store, ...Object.keys(found.stores)])].sort();
      if (names.join("\n") !== [...stores.options].map((one) => one.value).join("\n")) {
        stores.replaceChildren(...names.map((one) => h("option", { value: one }, oneLine(one))));
      }
      stores.value = page.store;
    },
  });
  place.append(table.box);
  prefix.addEventListener("input", () => table.restart());
  stores.addEventListener("change", () => {
    page.store = stores.value;
    page.follow();
    table.restart();
  });
  const heard = ({ feed, of }) => feed === "arrays" && of === page.store && table.refresh();
  return { close: () => table.close(), heard, tick: () => table.redraw() };
}

async function show(row, page) {
  const store = page.store;
  const box = h("div");
  const image = h("div", { class: "picture" });
  const stop = new AbortController();
  openDialog(oneLine(row.key || row.id), [h("div", { class: "about" }, image, box), buttons(closer())], () => stop.abort());
  const fill = (one) => box.replaceChildren(details(one, store));
  fill(row);
  if (row.kind === "array" && !row.lost_at) draw(image, { store, key: row.key, id: row.id }, stop.signal);
  try {
    fill((await get("array", { store, key: row.key, id: row.id }, stop.signal)).row);
  } catch (error) {
    if (error.name !== "AbortError") box.append(h("p", { class: "problem", role: "alert" }, error.message));
  }
}

function details(row, store) {
  const read = row.read_at === null ? "not known" : row.read_at <= row.put_at ? "never since its put" : `${ago(row.read_at)} ago`;
  return pairs([
    row.lost_at && ["Lost", tag(`at ${clock(row.lost_at)}, with node ${short(row.node)}`, "bad")],
    ["Store", oneLine(store)],
    ["Form", form(row)],
    ["Size", `${size(row.nbytes)}, ${count(row.nbytes, "byte")}`],
    ["Put", `${new Date(row.put_at * 1000).toLocaleString()}, ${ago(row.put_at)} ago`],
    ["Last read", read],
    ["Ends", end(row) === "-" ? "when it is deleted" : end(row)],
    ["Nodes", h("ul", {}, row.nodes.map((node) => h("li", {}, h("code", {}, node))))],
    ["Copies", `${row.replicas}, of ${row.wanted} asked for`],
    ["Where", where(row)],
    ["Id", h("code", {}, row.id)],
  ]);
}

// A picture, and for a volume a slider. While one is drawn, the latest wish waits.
function draw(place, asked, signal) {
  const image = h("img", { alt: "" });
  const said = h("p", { class: "quiet", role: "status" }, "Draws a picture ...");
  const slider = h("input", { type: "range", min: 0, "aria-label": "Slice along the first axis" });
  const label = h("label", { hidden: true }, "Slice", slider);
  place.replaceChildren(said);
  let busy = false;
  let next = null;
  const look = async (at) => {
    if (busy) { next = at; return; }
    busy = true;
    const wanted = at === null ? asked : { ...asked, at };
    try {
      const found = await picture(wanted, signal);
      image.src = found.url;
      await image.decode().catch(() => {});
      URL.revokeObjectURL(found.url);
      image.alt = `A picture of the array ${found.said || ""}`;
      said.textContent = found.said ?? "";
      if (!image.isConnected) place.replaceChildren(image, label, said);
      if (found.slices > 1) {
        label.hidden = false;
        slider.max = found.slices - 1;
        if (at === null) slider.value = found.at;
      }
    } catch (error) {
      if (error.name === "AbortError") return;
      said.textContent = `No picture: ${error.message}`;
    } finally {
      busy = false;
    }
    if (next !== null) {
      const then = next;
      next = null;
      look(then);
    }
  };
  slider.addEventListener("input", () => look(Number(slider.value)));
  look(null);
}
