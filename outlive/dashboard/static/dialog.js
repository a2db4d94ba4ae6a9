// The one dialog: it shows facts, or asks before something is changed.

import { h } from "./text.js";

const box = () => document.getElementById("dialog");
let closed = () => {};

// Show elements under a title. `onClose` is called when it is closed, by Escape too.
export function open(title, content, onClose = () => {}) {
  const dialog = box();
  if (dialog.open) closed();
  closed = onClose;
  dialog.replaceChildren(h("div", {}, h("h2", { id: "dialog-title", tabindex: -1 }, title), content));
  dialog.onclose = () => {
    closed();
    closed = () => {};
  };
  if (dialog.open) dialog.querySelector("h2").focus();
  else dialog.showModal(); // the browser gives the focus back to where it was
}

export function close() {
  if (box().open) box().close();
}

export const buttons = (...children) => h("div", { class: "buttons" }, ...children);
export const closer = (label = "Close") => h("button", { type: "button", onclick: close }, label);

// A button that does something once, and shows why if it cannot.
export function doer(label, work, attributes = {}) {
  const button = h("button", { type: "button", ...attributes, onclick: async () => {
    button.disabled = true;
    around(button).querySelector(".problem")?.remove();
    try {
      await work();
    } catch (error) {
      problem(button, error.message);
    } finally {
      button.disabled = false;
    }
  } }, label);
  return button;
}

const around = (element) => element.closest("#dialog > div, main") ?? box();

function problem(beside, text) {
  (beside.closest(".buttons") ?? beside).before(h("p", { class: "problem", role: "alert" }, text));
}
