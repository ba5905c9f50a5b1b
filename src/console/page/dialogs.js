// Windows over the page. The browser keeps the focus in them, and gives it back.

import { button, h } from "./dom.js";

let last = 0;

// Opens a window with this title and content; `close` is handed to the content.
export function open(title, content, closed = () => {}) {
  const id = `dialog-${++last}`;
  const dialog = h("dialog", { "aria-labelledby": id });
  const close = () => dialog.close();
  dialog.append(h("h2", { id }, title), ...[content(close)].flat().filter(Boolean));
  dialog.addEventListener("close", () => { dialog.remove(); closed(); });
  document.body.append(dialog);
  dialog.showModal();
  return close;
}

// Asks before something is done that cannot be taken back. Escape and "Cancel" do nothing.
export function confirm(title, explanation, verb, look = "danger") {
  return new Promise((answer) => {
    let agreed = false;
    const content = (close) => [
      h("p", {}, explanation),
      h("div", { class: "buttons" },
        button("Cancel", close, { autofocus: true }),
        button(verb, () => { agreed = true; close(); }, { class: look })),
    ];
    open(title, content, () => answer(agreed));
  });
}
