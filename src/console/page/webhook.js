// One webhook: its endpoints, and its executions as they happen.

import * as api from "./api.js";
import { enable, hookAt, hooksAt, redeliverFailed, remove, test } from "./actions.js";
import { button, h, keyed, link, say, tool } from "./dom.js";
import { executionRow } from "./execution-row.js";
import { laneChip, laneText, openButton, waitingText } from "./lanes.js";
import { day, latency, shares } from "./plots.js";
import { poll } from "./polling.js";
import { table } from "./tables.js";
import { STATES, TYPES, chip, event, host, isOver, stateOf } from "./words.js";

const PAGE = 50;

export async function webhookPage(page) {
  const { project, policy: id, signal, paint } = page;
  const policy = await api.get(api.policy(project, id), {}, signal);
  const title = h("div");
  const endpoints = h("div", { class: "endpoints" });
  const executions = listing(page, policy);
  const look = async () => {
    const [states] = await Promise.all([api.get(api.overview(project), {}, signal), executions.look()]);
    const state = states.find((state) => String(state.policy_id) === id);
    if (!state) throw new api.ApiError(404, { message: "This webhook was deleted." });
    keyed(title, [{ name: policy.name, enabled: state.enabled }], () => 0, (shown) => head(page, policy, shown, look, executions.again));
    keyed(endpoints, state.targets, (target) => target.target_id, (target) => endpoint(page, target, look));
    return executions.isBusy() ? 1 : 2.5;
  };
  await look();
  const text = policy.description && h("p", {}, policy.description);
  const subscribed = h("ul", { class: "tags", "aria-label": "Events" }, policy.event_types.map((type) => h("li", {}, event(type))));
  paint(policy.name || `Webhook ${id}`, [["#/projects", "Projects"], [hooksAt(project), project.name]],
    title, text, subscribed, h("h2", {}, policy.targets.length === 1 ? "Endpoint" : "Endpoints"), endpoints, executions.section);
  await poll(2.5, signal, look);
}

function head({ project, policy: id, may }, policy, { enabled }, look, again) {
  const gone = async () => {
    if (await remove(project, id, policy.name)) location.hash = hooksAt(project);
  };
  const buttons = [
    may("update") && button("Test", () => test(project, id), { "data-focus": "test" }),
    may("update") && button(enabled ? "Deactivate" : "Enable", () => enable(project, id, !enabled).then(look), { "data-focus": "toggle" }),
    may("update") && button("Redeliver all failed", () => redeliverFailed(project, id).then(again), { "data-focus": "redeliver" }),
    may("update") && link(`${hookAt(project, id)}/edit`, "Edit", { class: "button" }),
    may("delete") && button("Delete", gone, { class: "danger" }),
  ];
  return h("div", { class: "head-row" }, h("h1", {}, policy.name || `Webhook ${id}`, " ", enabled ? chip("Enabled", "good") : chip("Deactivated", "off")), h("div", { class: "buttons" }, buttons));
}

function endpoint({ project, may }, target, look) {
  const slots = day([target]);
  return h("section", { class: "card endpoint", "aria-label": `Endpoint ${target.target_id}` },
    h("div", { class: "what" }, h("div", { class: "address" }, h("span", { class: "type" }, TYPES[target.type] ?? target.type), " ", host(target.address)),
      h("div", {}, laneChip(target), " ", laneText(target), " ", may("update") && openButton(project, target, look))),
    h("div", { "data-label": "Succeeded, 24 h" }, shares(slots)),
    h("div", { "data-label": "Mean time, 24 h" }, latency(slots)),
    h("div", { "data-label": "Waiting" }, waitingText([target])));
}

// The executions with their filters: the newest are asked for again and again, older ones on demand.
function listing(page, policy) {
  const { project, policy: id, query, signal } = page;
  const body = h("tbody");
  const list = table("Executions, newest first", ["Execution", "State", "Event", "Attempts", "Created", "Next or last", ""], body);
  const none = h("p", { class: "empty" }, "No execution yet. An event of the project makes one, and so does a test.");
  const older = button("Show older", () => more(), { hidden: true });
  const found = new Map();
  let states = new Map();

  const ask = (after) => api.get(api.deliveries(project), { policy_id: id, limit: PAGE, after, ...chosen(query) }, signal);
  const draw = () => {
    const shown = [...found.values()].sort((a, b) => b.id - a.id);
    keyed(body, shown, (delivery) => delivery.id, (delivery) => executionRow(page, delivery, () => look(delivery.id)));
    none.hidden = shown.length > 0;
    none.textContent = [...query.keys()].length ? "No execution fits these filters." : "No execution yet. An event of the project makes one, and so does a test.";
    list.hidden = shown.length === 0;
  };
  // `touched` is one that was just changed by hand.
  async function look(touched) {
    const newest = await ask();
    const oldest = newest.length === PAGE ? newest.at(-1).id : -Infinity;
    // What is not among the newest any more was swept away, or does not fit the filter now.
    for (const key of found.keys()) if (key >= oldest) found.delete(key);
    newest.forEach((delivery) => found.set(delivery.id, delivery));
    if (found.size === newest.length) older.hidden = newest.length < PAGE;
    await renew([...found.values()].filter((one) => one.id < oldest && (one.id === touched || !isOver(one))).slice(0, PAGE / 5));
    tell(newest);
    draw();
  }
  // Older ones that may have changed.
  async function renew(list) {
    const news = await Promise.all(list.map((delivery) => api.get(api.delivery(project, delivery.id), {}, signal)));
    for (const { body, attempts, ...delivery } of news) found.set(delivery.id, { ...delivery, attempts: attempts.at(-1)?.number ?? 0 });
  }
  async function more() {
    const next = await ask(Math.min(...found.keys()));
    next.forEach((delivery) => found.set(delivery.id, delivery));
    older.hidden = next.length < PAGE;
    draw();
  }
  function tell(list) {
    const changed = list.filter((delivery) => states.has(delivery.id) && states.get(delivery.id) !== stateOf(delivery)[0]);
    if (changed.length) say(changed.slice(0, 3).map((delivery) => `Execution ${delivery.id}: ${stateOf(delivery)[0]}`).join(". "));
    states = new Map(list.map((delivery) => [delivery.id, stateOf(delivery)[0]]));
  }
  // Whether an attempt is under way, or about to be.
  const isBusy = () => [...found.values()].some(({ state, due_in_seconds: due }) => state === "leased" || (state === "due" && due > 0 && due < 5));
  const again = async () => { found.clear(); states.clear(); await look(); };
  const section = h("section", {}, h("div", { class: "head" }, h("h2", { id: "executions" }, "Executions")), filters(page, policy, again), list, none, older);
  return { section, look, again, isBusy };
}

const SINCE = { "": "Any time", 3600: "Last hour", 86400: "Last 24 hours", 604800: "Last 7 days", between: "Between…" };

function chosen(query) {
  const since = query.get("since");
  const past = Number(since) > 0 && new Date(Date.now() - Number(since) * 1000).toISOString();
  const limit = (name) => (since === "between" && query.get(name) ? new Date(query.get(name)).toISOString() : undefined);
  return { state: query.get("state"), event_type: query.get("event"), since: past || limit("from"), until: limit("to") };
}

// What is chosen stands in the address, so that a link to the page keeps it.
function filters({ project, policy: id, query }, policy, again) {
  const options = (list) => list.map(([value, text]) => h("option", { value }, text));
  const fields = {
    state: h("select", { id: "state", value: query.get("state") ?? "" }, options([["", "Any state"], ...Object.entries(STATES).map(([name, [word]]) => [name, word])])),
    event: h("select", { id: "event", value: query.get("event") ?? "" }, options([["", "Any event"], ...policy.event_types.map((type) => [type, event(type)])])),
    since: h("select", { id: "since", value: query.get("since") ?? "" }, options(Object.entries(SINCE).sort(([a], [b]) => order(a) - order(b)))),
    from: h("input", { id: "from", type: "datetime-local", value: query.get("from") ?? "" }),
    to: h("input", { id: "to", type: "datetime-local", value: query.get("to") ?? "" }),
  };
  const between = h("div", { class: "between" }, tool("From", fields.from), tool("To", fields.to));
  const change = () => {
    for (const [name, field] of Object.entries(fields)) field.value ? query.set(name, field.value) : query.delete(name);
    between.hidden = fields.since.value !== "between";
    if (between.hidden) ["from", "to"].forEach((name) => query.delete(name));
    history.replaceState(null, "", hookAt(project, id) + (query.size ? `?${query}` : ""));
    return again();
  };
  Object.values(fields).forEach((field) => field.addEventListener("change", change));
  between.hidden = fields.since.value !== "between";
  return h("div", { class: "tools" }, tool("State", fields.state), tool("Event", fields.event), tool("Time", fields.since), between);
}

const order = (key) => (key === "" ? 0 : key === "between" ? Infinity : Number(key));
