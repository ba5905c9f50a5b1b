// What is done to a webhook, from its row and from its page.

import * as api from "./api.js";
import { confirm, open } from "./dialogs.js";
import { button, h, link, say } from "./dom.js";
import { pause } from "./polling.js";
import { count, event, isOver, milliseconds, outcome, stateChip, until } from "./words.js";

export const hooksAt = (project) => `#/projects/${encodeURIComponent(project.name)}`;
export const hookAt = (project, id) => `${hooksAt(project)}/${id}`;
export const deliveryAt = (project, id, delivery) => `${hookAt(project, id)}/executions/${delivery}`;

// Sends the whole policy back with one member changed, as the API wants it; masks keep the secrets.
export async function enable(project, id, enabled) {
  const policy = await api.get(api.policy(project, id));
  await api.put(api.policy(project, id), { ...policy, enabled });
  say(`${policy.name} is ${enabled ? "enabled" : "deactivated"}.`);
}

// Says whether it was deleted.
export async function remove(project, id, name) {
  const explanation = "Its history is deleted too, and what still waits is not sent. This cannot be taken back.";
  if (!(await confirm(`Delete the webhook ${name}?`, explanation, "Delete"))) return false;
  await api.remove(api.policy(project, id));
  say(`${name} was deleted.`);
  return true;
}

export async function redeliverFailed(project, id) {
  const explanation = "All failed deliveries of this webhook that are still kept are sent again, with the same id and body.";
  if (!(await confirm("Redeliver all failed?", explanation, "Redeliver", "primary"))) return;
  const sum = { count: 0, skipped: 0 };
  let after;
  do {
    const part = await api.post(`${api.beyond(project, id)}/redeliver`, after ? { after } : {});
    sum.count += part.count;
    sum.skipped += Object.values(part.skipped).reduce((one, other) => one + other, 0);
    after = part.next;
  } while (after);
  const skipped = sum.skipped ? `, ${sum.skipped} skipped` : "";
  say(`${count(sum.count, "delivery", "deliveries")} will be sent again${skipped}.`);
}

export async function openLane(project, target) {
  await api.post(`${api.target(project, target)}/enable`);
  say("The endpoint is tried again.");
}

// A window that sends a sample to one webhook and shows what becomes of it.
export async function test(project, id) {
  const policy = await api.get(api.policy(project, id));
  const watching = new AbortController();
  const result = h("div", { class: "result", role: "status" });
  const choice = h("select", { id: "test-event" }, policy.event_types.map((type) => h("option", { value: type }, event(type))));
  const send = async () => {
    const { event_id } = await api.post(`${api.beyond(project, id)}/test`, { event_type: choice.value });
    await watch(project, policy, event_id, result, watching.signal);
  };
  const content = (close) => [
    h("p", {}, "A sample event takes the whole way to every endpoint of this webhook. Receivers know it by the header ", h("code", {}, "webhook-test"), "."),
    policy.enabled ? null : h("p", { class: "problem" }, "This webhook is deactivated: the test waits until it is enabled."),
    h("label", { for: "test-event" }, "Event"), choice, result,
    h("div", { class: "buttons" }, button("Close", close), button("Send", () => guarded(send, result), { class: "primary" })),
  ];
  open(`Test ${policy.name}`, content, () => watching.abort());
}

// Errors stand in the window, as what lies under it cannot be read.
async function guarded(work, place) {
  try {
    await work();
  } catch (error) {
    if (error.name !== "AbortError") place.replaceChildren(h("p", { class: "problem" }, error.message));
  }
}

async function watch(project, policy, event_id, result, signal) {
  result.replaceChildren(h("p", {}, "Sent. Waiting for its deliveries…"));
  while (!signal.aborted) {
    const list = await api.get(api.deliveries(project), { event_id }, signal);
    const shown = await Promise.all(list.map((delivery) => told(project, policy, delivery, signal)));
    if (list.length) result.replaceChildren(h("ul", { class: "plain-list" }, shown));
    if (list.length >= policy.targets.length && list.every(isOver)) return;
    await pause(0.7, signal);
  }
}

async function told(project, policy, listed, signal) {
  const delivery = await api.get(api.delivery(project, listed.id), {}, signal);
  const attempt = delivery.attempts.at(-1);
  const answer = attempt ? `${outcome(attempt)} in ${milliseconds(attempt.duration_ms)}` : "no attempt yet";
  const next = delivery.state === "due" && delivery.due_in_seconds !== null && [", next attempt ", until(delivery.due_in_seconds)];
  const error = attempt?.error && h("div", { class: "muted" }, attempt.error);
  return h("li", {}, stateChip(delivery), " ", answer, next, " ",
    link(deliveryAt(project, policy.id, delivery.id), "Log", { "aria-label": `Log of execution ${delivery.id}` }), error);
}
