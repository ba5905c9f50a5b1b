// An execution in the list, and what can be done with it.

import * as api from "./api.js";
import { deliveryAt } from "./actions.js";
import { button, link, say } from "./dom.js";
import { buttons, cell, head, row } from "./tables.js";
import { ago, at, chip, event, isOver, reason, stateChip, until } from "./words.js";

export function executionRow(page, delivery, look) {
  const { project, policy: id } = page;
  return row(
    head(link(deliveryAt(project, id, delivery.id), `#${delivery.id}`, { "data-focus": "open" })),
    cell("State", stateChip(delivery), delivery.test && [" ", chip("Test", "off")]),
    cell("Event", event(delivery.event_type)),
    cell("Attempts", String(delivery.attempts)),
    cell("Created", at(delivery.created_at)),
    cell("Next or last", when(delivery)),
    buttons(deliveryButtons(page, delivery, look, "small")));
}

export function when(delivery) {
  const { state, due_in_seconds: due } = delivery;
  if (state === "due") return due > 0 ? ["next attempt ", until(due)] : "waits for its turn";
  return [ago(delivery.updated_at), delivery.reason && `, ${reason(delivery.reason)}`];
}

export function deliveryButtons({ project, may }, delivery, look, look_of = "") {
  if (!may("update")) return [];
  const order = async (what, done) => {
    await api.post(`${api.delivery(project, delivery.id)}/${what}`);
    say(`Execution ${delivery.id} ${done}.`);
    await look();
  };
  const props = (name, text) => ({ class: look_of, "data-focus": name, "aria-label": `${text} execution ${delivery.id}` });
  return [
    isOver(delivery) && button("Redeliver", () => order("redeliver", "is sent again"), props("redeliver", "Redeliver")),
    ["due", "parked"].includes(delivery.state) && button("Cancel", () => order("cancel", "is cancelled"), props("cancel", "Cancel")),
  ];
}
