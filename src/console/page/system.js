// For the system administrator: the switch for all projects, what waits, and what is stuck.

import * as api from "./api.js";
import { confirm } from "./dialogs.js";
import { h, keyed, say } from "./dom.js";
import { poll } from "./polling.js";
import { cell, head, row, table } from "./tables.js";
import { Whereabouts } from "./where.js";
import { ago, bytes, chip, closed, seconds, until } from "./words.js";

export async function systemPage({ session, signal, paint }) {
  if (!session.system_admin) throw new api.ApiError(403);
  const parts = { numbers: h("dl", { class: "numbers" }), problems: h("ul", { class: "problems" }), lanes: h("tbody"), faults: h("tbody") };
  const toggle = await globalSwitch(signal);
  paint("System", [], h("h1", {}, "System"), toggle,
    h("h2", {}, "State"), parts.problems, parts.numbers,
    h("h2", {}, "Closed lanes"), table("Closed lanes", ["Webhook", "Endpoint", "Why", "Tried again"], parts.lanes), empty("No lane is closed."),
    h("h2", {}, "Last failed attempts of this node"), table("Last failed attempts", ["When", "Webhook", "Execution", "What"], parts.faults), empty("None since it started."));
  const where = new Whereabouts(signal);
  await poll(3, signal, async () => {
    const health = await api.get(api.health(), {}, signal);
    await where.find([...health.closed_lanes, ...health.failed_attempts].map((one) => one.policy_id));
    draw(health, parts, where);
  });
}

async function globalSwitch(signal) {
  const { notification_enable: setting } = await api.get(api.configurations(), {}, signal);
  const box = h("input", { type: "checkbox", id: "webhooks-enabled", checked: setting.value, "aria-describedby": "webhooks-hint" });
  if (!setting.editable) box.disabled = true;
  box.addEventListener("change", () => change(box));
  return h("div", { class: "card" }, h("div", { class: "field check" }, box, h("label", { for: "webhooks-enabled" }, "Webhooks enabled")),
    h("p", { class: "hint", id: "webhooks-hint" }, "For all projects. While they are switched off, new events are not delivered to anyone, and what waits stays where it is."));
}

// The box shows what holds: it goes back if the change was not made.
async function change(box) {
  const wanted = box.checked;
  box.checked = !wanted;
  const question = "New events of all projects are lost while webhooks are switched off.";
  if (!wanted && !(await confirm("Switch webhooks off for all projects?", question, "Switch off"))) return;
  await api.put(api.configurations(), { notification_enable: wanted });
  box.checked = wanted;
  say(wanted ? "Webhooks are switched on." : "Webhooks are switched off for all projects.");
  window.dispatchEvent(new Event("console:again"));
}

const empty = (text) => h("p", { class: "empty" }, text);

function draw(health, { numbers, problems, lanes, faults }, where) {
  const { waiting } = health;
  const fact = (name, value, hint) => ({ name, value, hint });
  const facts = waiting ? [
    fact("Deliveries waiting", waiting.deliveries.toLocaleString("en"), `oldest ${seconds(waiting.oldest_delivery_seconds)}`),
    fact("Events not fanned out", waiting.events.toLocaleString("en"), `oldest ${seconds(waiting.oldest_event_seconds)}`),
    fact("Room they take", bytes(waiting.bytes)),
    fact("Parked", waiting.parked.toLocaleString("en")),
    fact("Failed and kept", waiting.dead.toLocaleString("en")),
    fact("Unreadable events", waiting.set_aside.toLocaleString("en")),
  ] : [];
  keyed(numbers, facts, (one) => one.name, (one) => h("div", {}, h("dt", {}, one.name), h("dd", {}, one.value, one.hint && h("span", { class: "muted" }, ` ${one.hint}`))));
  const ok = { what: "Nothing is stuck.", advice: "" };
  keyed(problems, health.problems.length ? health.problems : [ok], (one) => one.what, problemItem);
  rows(lanes, health.closed_lanes, (lane) => lane.target_id, (lane) => laneRow(lane, where));
  rows(faults, health.failed_attempts, (one) => `${one.delivery_id} ${one.at}`, (one) => faultRow(one, where));
}

const problemItem = ({ what, advice }) => h("li", { class: advice ? "is-problem" : "" }, chip(advice ? "Problem" : "Good", advice ? "bad" : "good"), " ", h("strong", {}, what), advice && ` ${advice}`);

// An empty table is hidden, and the sentence behind it shown.
function rows(body, list, id, make) {
  keyed(body, list, id, make);
  body.parentElement.hidden = list.length === 0;
  body.parentElement.nextElementSibling.hidden = list.length > 0;
}

function laneRow(lane, where) {
  const opens = lane.opens_in_seconds === null ? "when it is enabled" : until(lane.opens_in_seconds);
  return row(head(where.hook(lane.policy_id)), cell("Endpoint", `number ${lane.target_id}`), cell("Why", closed(lane.why).join(": ")), cell("Tried again", opens));
}

function faultRow(one, where) {
  return row(head(ago(one.at)), cell("Webhook", where.hook(one.policy_id)), cell("Execution", where.delivery(one.policy_id, one.delivery_id)), cell("What", one.error));
}
