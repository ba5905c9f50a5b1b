// One execution with its task: every attempt, what was sent, what came back, and the job log.

import * as api from "./api.js";
import { hookAt, hooksAt } from "./actions.js";
import { button, h, keyed } from "./dom.js";
import { deliveryButtons, when } from "./execution-row.js";
import { spent } from "./plots.js";
import { poll } from "./polling.js";
import { buttons, cell, head, row, table } from "./tables.js";
import { TYPES, at, bytes, chip, exactlyAt, count, event, isOver, milliseconds, outcome, stateChip } from "./words.js";

export async function deliveryPage(page) {
  const { project, policy: id, delivery: execution, signal, paint } = page;
  const top = h("div");
  const attempts = h("ol", { class: "attempts" });
  const none = h("p", { class: "empty" }, "No attempt yet.");
  const log = jobLog(page);
  const policy = await api.get(api.policy(project, id), {}, signal);
  const look = async () => {
    const delivery = await api.get(api.delivery(project, execution), {}, signal);
    if (String(delivery.policy_id) !== id) throw new api.ApiError(404, { message: "This webhook has no such execution." });
    // Without the answer's fields that change by themselves, so that what is read is not made anew.
    keyed(top, [{ ...delivery, body: null }], () => 0, (shown) => summary(page, shown, look));
    const longest = Math.max(1, ...delivery.attempts.map((attempt) => attempt.duration_ms));
    keyed(attempts, delivery.attempts.map((attempt) => ({ ...attempt, longest })), (attempt) => attempt.number, attemptItem);
    none.hidden = delivery.attempts.length > 0;
    log.changed(delivery);
    return delivery;
  };
  const delivery = await look();
  paint(`Execution ${execution}`, [["#/projects", "Projects"], [hooksAt(project), project.name], [hookAt(project, id), policy.name]],
    top, h("h2", {}, "Attempts"), attempts, none, request(delivery), log.section);
  await poll(2, signal, async () => (isOver(await look()) ? 10 : 2));
}

function summary(page, delivery, look) {
  const fact = (name, ...content) => content.flat().some(Boolean) && h("div", {}, h("dt", {}, name), h("dd", {}, content));
  return h("div", {},
    h("div", { class: "head-row" }, h("h1", {}, `Execution ${delivery.id} `, stateChip(delivery), delivery.test && [" ", chip("Test", "off")]),
      h("div", { class: "buttons" }, deliveryButtons(page, delivery, look))),
    h("dl", { class: "facts" },
      fact("Event", event(delivery.event_type)),
      fact("Endpoint", `${TYPES[delivery.target_type] ?? delivery.target_type}, number ${delivery.target_id}`),
      fact("Created", at(delivery.created_at)),
      fact("Attempts", String(delivery.attempts.at(-1)?.number ?? 0)),
      fact(isOver(delivery) ? "Ended" : "Next", when(delivery)),
      fact("Detail", delivery.detail),
      fact("Event id", h("code", {}, delivery.event_id))));
}

function attemptItem(attempt) {
  const good = attempt.status >= 200 && attempt.status < 300;
  const text = attempt.error ?? attempt.answer;
  return h("li", { class: "attempt" },
    h("div", { class: "attempt-head" },
      h("strong", {}, `Attempt ${attempt.number}`), chip(outcome(attempt), good ? "good" : "bad"),
      h("span", { class: "muted" }, exactlyAt(attempt.started_at), attempt.remote_addr && ` to ${attempt.remote_addr}`),
      h("span", { class: "took" }, spent(attempt.duration_ms, attempt.longest), h("span", {}, milliseconds(attempt.duration_ms)))),
    attempt.error && h("p", { class: "error-text" }, attempt.error),
    attempt.answer && answer(attempt),
    !text && !good && h("p", { class: "muted" }, "Nothing of the answer was kept."));
}

function answer({ answer: text, answer_truncated: cut }) {
  return h("details", { open: text.length < 600 }, h("summary", {}, cut ? "Beginning of the answer" : "Answer"), h("pre", { tabindex: 0 }, text));
}

// The body as it was sent, or laid out for reading if it is JSON.
function request(delivery) {
  const sent = delivery.body ?? "";
  const pretty = laidOut(sent);
  const text = h("pre", { tabindex: 0, "aria-label": "Request body" }, pretty ?? sent);
  const size = new TextEncoder().encode(sent).length;
  const toggle = (event) => {
    const asSent = event.currentTarget.getAttribute("aria-pressed") !== "true";
    event.currentTarget.setAttribute("aria-pressed", String(asSent));
    text.textContent = asSent ? sent : pretty;
  };
  return h("section", {},
    h("div", { class: "head" }, h("h2", {}, "Request body"),
      pretty !== null && button("As sent", toggle, { class: "small", "aria-pressed": "false" })),
    h("p", { class: "muted" }, [delivery.content_type, sent && bytes(size), delivery.body_id && `webhook-id ${delivery.body_id}`].filter(Boolean).join(" · ")),
    sent ? text : h("p", { class: "empty" }, "The body is not kept any more."));
}

function laidOut(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return null;
  }
}

// Harbor's task of the execution, with its log as text.
function jobLog({ project, policy: id, delivery: execution, signal }) {
  const body = h("tbody");
  const text = h("pre", { tabindex: 0, hidden: true, "aria-label": "Job log" });
  let shown = null;
  const read = async () => {
    text.textContent = await api.text(`${api.tasks(project, id, execution)}/${shown}/log`, signal);
    text.hidden = false;
  };
  const open = (task) => button("Log", () => { shown = task.id; return read(); }, { class: "small", "data-focus": "log", "aria-label": `Log of task ${task.id}` });
  const taskRow = (task) => row(head(`#${task.id}`), cell("Status", task.status), cell("Runs", count(task.run_count ?? 0, "run")),
    cell("Updated", at(task.update_time)), buttons(open(task)));
  let last = "";
  const changed = async (delivery) => {
    const now = `${delivery.state} ${delivery.attempts.length}`;
    if (now === last) return;
    last = now;
    keyed(body, await api.get(api.tasks(project, id, execution), {}, signal), (task) => task.id, taskRow);
    if (shown !== null) await read();
  };
  const list = table("Tasks of this execution", ["Task", "Status", "Runs", "Updated", ""], body);
  return { section: h("section", {}, h("h2", {}, "Tasks"), list, text), changed };
}
