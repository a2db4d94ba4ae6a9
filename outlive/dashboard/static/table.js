// A table of any length: the server sorts and cuts it, and only the rows that are seen have elements.

import { h, number } from "./text.js";
import { get } from "./net.js";

const PAGE = 100; // rows that are asked for at a time
const SPARE = 6; // rows above and below those that are seen

// minor: left out on a narrow screen. spare: left out on one of middle width.
const names = (column) => ["right", "wide", "minor", "spare"].filter((name) => column[name]).concat(column.class ?? []).join(" ");

export class Table {
  #pages = new Map(); // by number: rows
  #asked = new Map(); // by number: what stops the question
  #elements = new Map(); // by index
  #total = 0;
  #generation = 0;

  // columns: {name, label, sort, right, wide, minor, cell(row)}. The first one's cell opens a row. none: said if there are no rows.
  constructor({ path, kind, label, columns, none, sort, order, parameters, opened, answered, failed }) {
    Object.assign(this, { path, columns, none, sort, order, parameters, opened, answered, failed });
    this.head = h("div", { class: "head", role: "row" }, columns.map((column) => this.#header(column)));
    this.space = h("div", { class: "space", role: "rowgroup" });
    this.scroll = h("div", { class: "scroll", tabindex: 0 }, this.space);
    this.foot = h("p", { class: "foot quiet", role: "status" }, "Asks the cluster ...");
    this.box = h("div", { class: `table ${kind}` },
      h("div", { role: "table", "aria-label": label, class: "inner" }, h("div", { role: "rowgroup" }, this.head), this.scroll), this.foot);
    this.table = this.box.firstChild;
    this.scroll.addEventListener("scroll", () => this.#show());
    this.space.addEventListener("keydown", (event) => this.#step(event));
    this.observer = new ResizeObserver(() => this.#measure());
    this.observer.observe(this.scroll);
    this.#tellSort();
    this.refresh();
  }

  close() {
    this.observer.disconnect();
    for (const stop of this.#asked.values()) stop.abort();
  }

  // Another filter: begin at the top.
  restart() {
    this.scroll.scrollTop = 0;
    this.#pages.clear();
    this.refresh();
  }

  // Ask again for what is seen; it stays until the answer comes.
  refresh() {
    this.#generation += 1;
    for (const stop of this.#asked.values()) stop.abort();
    this.#asked.clear();
    const [first, last] = this.#seen();
    for (const page of this.#pages.keys()) if (page < Math.floor(first / PAGE) || page > Math.floor(last / PAGE)) this.#pages.delete(page);
    for (let page = Math.floor(first / PAGE); page <= Math.floor(last / PAGE); page += 1) this.#ask(page);
  }

  // Draw again, as ages change.
  redraw() {
    this.#show();
  }

  #header(column) {
    const cell = h("div", { role: "columnheader", class: names(column) || null });
    if (!column.sort) cell.append(column.label);
    else cell.append(h("button", { type: "button", onclick: () => this.#sortBy(column) }, column.label));
    column.header = cell;
    return cell;
  }

  #sortBy(column) {
    const first = column.right ? "down" : "up";
    this.order = this.sort === column.sort ? (this.order === "up" ? "down" : "up") : first;
    this.sort = column.sort;
    this.#tellSort();
    this.restart();
  }

  #tellSort() {
    for (const { sort, label, header } of this.columns) {
      if (!sort) continue;
      const chosen = sort === this.sort;
      header.setAttribute("aria-sort", chosen ? { up: "ascending", down: "descending" }[this.order] : "none");
      header.firstChild.textContent = chosen ? `${label} ${this.order === "up" ? "▲" : "▼"}` : label;
    }
  }

  async #ask(page) {
    if (this.#asked.has(page)) return;
    const stop = new AbortController();
    const generation = this.#generation;
    this.#asked.set(page, stop);
    const window = { offset: page * PAGE, limit: PAGE, sort: this.sort, order: this.order };
    try {
      const found = await get(this.path, { ...this.parameters(), ...window }, stop.signal);
      if (generation !== this.#generation) return;
      if (found.state.at === null) { // nothing was seen, which is not the same as that there is nothing
        this.foot.textContent = "Nothing has been seen yet.";
        return;
      }
      this.#pages.set(page, found.rows);
      this.#total = found.total;
      this.answered(found);
      this.foot.textContent = this.#told(found);
      this.#measure();
    } catch (error) {
      if (error.name !== "AbortError") this.failed(error);
    } finally {
      if (this.#asked.get(page) === stop) this.#asked.delete(page);
    }
  }

  #told(found) {
    if (!found.all) return this.none;
    if (!found.total) return `None of ${number(found.all)}.`;
    return found.total === found.all ? `${number(found.total)} in all` : `${number(found.total)} of ${number(found.all)}`;
  }

  #measure() {
    this.height = parseFloat(getComputedStyle(this.box).getPropertyValue("--row")) || 38;
    this.space.style.height = `${this.#total * this.height}px`;
    this.box.style.setProperty("--content", this.space.style.height);
    this.box.style.setProperty("--gutter", `${this.scroll.offsetWidth - this.scroll.clientWidth}px`);
    this.table.setAttribute("aria-rowcount", this.#total + 1);
    this.#show();
  }

  #seen() {
    const height = this.height || 38;
    const first = Math.max(0, Math.floor(this.scroll.scrollTop / height) - SPARE);
    const last = Math.ceil((this.scroll.scrollTop + (this.scroll.clientHeight || 400)) / height) + SPARE;
    return [first, Math.max(first, Math.min(last, Math.max(0, this.#total - 1)))];
  }

  #show() {
    const [first, last] = this.#seen();
    for (const [index, element] of this.#elements) {
      if (index < first || index > last || index >= this.#total) {
        if (element.contains(document.activeElement)) this.scroll.focus({ preventScroll: true });
        element.remove();
        this.#elements.delete(index);
      }
    }
    for (let index = first; index <= last && index < this.#total; index += 1) {
      const page = Math.floor(index / PAGE);
      if (!this.#pages.has(page)) this.#ask(page);
      this.#draw(index, this.#pages.get(page)?.[index % PAGE]);
    }
  }

  #draw(index, row) {
    let element = this.#elements.get(index);
    if (!element) {
      element = h("div", { class: "row", role: "row", "aria-rowindex": index + 2 });
      this.#elements.set(index, element);
      const after = [...this.#elements.keys()].filter((other) => other > index).sort((a, b) => a - b)[0];
      this.space.insertBefore(element, after === undefined ? null : this.#elements.get(after)); // the order of Tab
    }
    element.style.top = `${index * this.height}px`;
    const cells = row ? this.columns.map((column) => column.cell(row)) : [h("span", { class: "quiet" }, "...")];
    const said = JSON.stringify([row?.id, cells.map((cell) => (cell instanceof Node ? cell.outerHTML : cell))]);
    if (element.dataset.said === said) return;
    element.dataset.said = said;
    const focused = element.contains(document.activeElement);
    element.replaceChildren(...cells.map((cell, place) => this.#cell(this.columns[place], cell, place === 0 && row)));
    if (focused) element.querySelector("button")?.focus({ preventScroll: true });
  }

  #cell(column, content, row) {
    const plain = typeof content === "string" ? content : null;
    const inner = row ? h("button", { type: "button", class: "open", onclick: () => this.opened(row) }, content) : content;
    const kind = `${names(column)}${plain === "-" ? " none" : ""}`;
    return h("div", { role: "cell", class: kind || null, title: plain, "data-label": column.short ?? "" }, inner);
  }

  #step(event) {
    const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 10, PageUp: -10 }[event.key];
    const row = event.target.closest(".row");
    if (!by || !row) return;
    event.preventDefault();
    const wanted = Math.min(this.#total - 1, Math.max(0, Number(row.getAttribute("aria-rowindex")) - 2 + by));
    const top = wanted * this.height;
    if (top < this.scroll.scrollTop) this.scroll.scrollTop = top;
    const over = top + this.height - this.scroll.scrollTop - this.scroll.clientHeight;
    if (over > 0) this.scroll.scrollTop += over;
    this.#show();
    this.#elements.get(wanted)?.querySelector("button")?.focus({ preventScroll: true });
  }
}
