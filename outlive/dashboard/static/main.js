// The page: which view is shown, whether it is live, and what is wrong.

import { ago, clock, h, number } from "./text.js";
import { Events, get } from "./net.js";
import { close } from "./dialog.js";
import * as workers from "./workers.js";
import * as arrays from "./arrays.js";
import * as nodes from "./nodes.js";
import * as doctor from "./doctor.js";
import * as history from "./history.js";

const VIEWS = { workers, arrays, nodes, doctor, history };
const place = document.getElementById("view");
const problem = document.getElementById("problem");
const live = document.getElementById("live");
const page = { readOnly: true, store: "default", follow, failed, state: {} };
let view = null;
let name = "";
let connection = "begun";
let refusal = null;

const events = new Events(heard, (state) => {
  const again = state === "live" && connection !== "live";
  connection = state;
  if (state === "live") refusal = null;
  if (again) begin();
  tell();
});

function heard(event) {
  if (event.feed !== "drain" && event.feed !== "history") page.state[event.feed === "arrays" ? `arrays ${event.of}` : event.feed] = event;
  view?.heard(event);
  tell();
}

function follow() {
  events.follow(name, page.store);
}

// An answer that did not come: the events say when it is worth to ask again.
function failed(error) {
  refusal = error.message;
  if (error.status === 401) connection = "over";
  tell();
}

function current() {
  return page.state[name === "arrays" ? `arrays ${page.store}` : name === "history" ? "workers" : name];
}

function tell() {
  const state = current();
  const when = state?.at ? `seen ${ago(state.at)} ago` : "not seen yet";
  const words = { begun: "connects", live: state?.error ? "no answer" : "live", lost: "no connection", over: "closed" }[connection];
  const text = `${words}, ${when}`;
  if (live.textContent !== text) live.textContent = text;
  live.className = connection === "begun" ? "tag" : connection === "live" && !state?.error ? "tag good" : "tag bad";
  let said = null;
  if (connection === "over") said = "This page's session has ended, as another dashboard was started: open the address that it printed.";
  else if (connection === "lost") said = "The dashboard's server does not answer: it may have ended. This page tries again by itself.";
  else if (state?.error) {
    const seen = state.at ? `What is shown was seen at ${clock(state.at)}.` : "Nothing has been seen yet.";
    said = `The cluster has not answered since ${clock(state.since)}: ${state.error}. ${seen} The page asks again by itself.`;
  } else if (refusal) said = refusal;
  problem.hidden = !said;
  if (said && problem.textContent !== said) problem.textContent = said;
}

function show() {
  const wanted = location.hash.slice(1).split("/")[0];
  if (wanted === "view") return; // the link that skips the navigation
  const next = VIEWS[wanted] ? wanted : "workers";
  if (next === name) return;
  view?.close();
  close();
  name = next;
  refusal = null;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `outlive: ${VIEWS[name].TITLE}`;
  place.replaceChildren();
  view = VIEWS[name].open(place, page);
  follow();
  tell();
}

async function begin() {
  try {
    const session = await get("session");
    page.readOnly = session.read_only;
    document.body.classList.toggle("read-only", page.readOnly);
    const versions = session.ray ? `${session.address}, Ray ${session.ray}, outlive ${session.outlive}` : "";
    document.getElementById("cluster").textContent = versions + (page.readOnly ? " (read-only)" : "");
    view?.began?.();
  } catch (error) {
    failed(error);
  }
}

for (const [key, { TITLE }] of Object.entries(VIEWS)) {
  document.getElementById("views").append(h("li", {}, h("a", { href: `#${key}` }, TITLE, h("span", { class: "count", id: `count-${key}` }))));
}
page.counted = (key, value) => {
  document.getElementById(`count-${key}`).textContent = value === null ? "" : number(value);
};
addEventListener("hashchange", show);
setInterval(() => { view?.tick?.(); tell(); }, 1000);
await begin();
show();
