// The doctor's findings, the worst first, each with what mends it.

import { clock, count, h, number, oneLine, short, tag } from "./text.js";
import { get, post } from "./net.js";
import { doer } from "./dialog.js";

export const TITLE = "Doctor";
const SIGNS = { wrong: "bad", risk: "warn", waste: "warn", info: "" };

export function open(place, page) {
  const said = h("p", { role: "status" }, "The doctor looks ...");
  const list = h("div", { class: "findings" });
  const again = doer("Look again", async () => {
    said.textContent = "The doctor looks again ...";
    await post("look", {});
  });
  place.append(h("div", { class: "tools" }, said, h("span", { class: "spring" }, again)), list);
  let shown = "";
  const refresh = async () => {
    try {
      const { diagnosis, state } = await get("doctor");
      if (!diagnosis) return;
      const told = diagnosis.findings.filter((one) => one.severity === "info").length;
      const found = diagnosis.findings.length - told;
      said.textContent = `${found ? count(found, "finding") : "Nothing found"}${told ? `, ${number(told)} for information` : ""}; looked at ${clock(state.at)}.`;
      page.counted("doctor", found);
      const text = JSON.stringify(diagnosis);
      if (text === shown) return; // what was opened stays open
      shown = text;
      list.replaceChildren(...diagnosis.findings.map(finding), ...notes(diagnosis));
    } catch (error) {
      page.failed(error);
    }
  };
  refresh();
  return { close: () => {}, heard: ({ feed }) => feed === "doctor" && refresh() };
}

function finding(one) {
  const seen = one.evidence.map((evidence) => h("li", {}, oneLine(where(evidence) + evidence.text)));
  const more = seen.length > 3 && h("details", {}, h("summary", {}, `${seen.length - 3} more`), h("ul", {}, seen.slice(3)));
  return h("article", { class: "finding" },
    h("h3", {}, tag(one.severity, SIGNS[one.severity]), " ", oneLine(one.what)),
    h("dl", {},
      seen.length ? [h("dt", {}, "Seen"), h("dd", {}, h("ul", {}, seen.slice(0, 3)), more || null)] : null,
      h("dt", {}, "Why"), h("dd", {}, oneLine(one.why)),
      h("dt", {}, "Fix"), h("dd", { class: "fix" }, one.fix),
      one.source ? [h("dt", {}, "Source"), h("dd", { class: "quiet" }, oneLine(one.source))] : null,
      h("dt", {}, "Kind"), h("dd", {}, h("code", {}, one.kind))));
}

function where({ pid, node }) {
  if (pid !== null) return `pid ${pid} on node ${short(node)}: `;
  return node === null ? "" : `node ${short(node)}: `;
}

function notes(diagnosis) {
  const missed = diagnosis.unchecked.map((one) => h("p", {}, tag(`not checked: ${one.check}: ${oneLine(one.reason)}`, "bad")));
  return [...missed, ...diagnosis.notes.map((one) => h("p", { class: "quiet" }, oneLine(one)))];
}
