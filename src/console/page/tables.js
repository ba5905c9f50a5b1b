// Tables that become cards on a phone. The roles stand there in so many words, as a browser may forget them then.

import { h } from "./dom.js";

export function table(name, heads, body, props = {}) {
  const columns = heads.map((text) => h("th", { scope: "col", role: "columnheader" }, text || h("span", { class: "hidden" }, "Actions")));
  body.setAttribute("role", "rowgroup");
  return h("table", { class: "cards", role: "table", ...props }, h("caption", { class: "hidden" }, name),
    h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, columns)), body);
}

export const row = (...cells) => h("tr", { role: "row" }, cells);
export const head = (...content) => h("th", { scope: "row", role: "rowheader" }, content);
export const cell = (label, ...content) => h("td", { role: "cell", "data-label": label }, h("span", { class: "value" }, content));
export const buttons = (...content) => h("td", { role: "cell", class: "buttons" }, content);
