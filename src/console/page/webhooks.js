// The webhooks of a project, each with its state at a glance.

import * as api from "./api.js";
import { deliveryAt, enable, hookAt, hooksAt, test } from "./actions.js";
import { button, h, keyed, link, tool } from "./dom.js";
import { isTrouble, laneChip, laneText, waitingText } from "./lanes.js";
import { day, latency, shares } from "./plots.js";
import { poll } from "./polling.js";
import { TYPES, ago, chip, count, event, host, stateChip } from "./words.js";

const FILTERS = {
  all: ["All", () => true],
  enabled: ["Enabled", (hook) => hook.enabled],
  off: ["Deactivated", (hook) => !hook.enabled],
  trouble: ["In trouble", (hook) => hook.targets.some(isTrouble) || hook.last_delivery?.state === "dead"],
  waiting: ["With deliveries waiting", (hook) => hook.targets.some((target) => target.waiting > 0)],
};

export async function webhooksPage(page) {
  const { project, query, signal, paint, may } = page;
  const [policies, first] = await Promise.all([api.all(api.policies(project), signal), api.get(api.overview(project), {}, signal)]);
  const known = new Map(policies.map((policy) => [policy.id, policy]));
  const list = h("ul", { class: "hooks", "aria-label": "Webhooks" });
  const number = h("p", { class: "muted", role: "status" });
  const { tools, wanted } = filters(project, query, () => draw());
  let hooks = first.map((state) => hookOf(state, known.get(state.policy_id)));
  const look = async () => {
    const states = await api.get(api.overview(project), {}, signal);
    if (states.some((state) => !known.has(state.policy_id))) await renew(project, known, signal);
    hooks = states.map((state) => hookOf(state, known.get(state.policy_id)));
    draw();
    // A long list is a long answer.
    return Math.max(5, hooks.length / 50);
  };
  const row = (hook) => hookRow(page, hook, look);
  function draw() {
    const shown = hooks.filter(wanted);
    number.textContent = shown.length === hooks.length ? count(hooks.length, "webhook") : `${shown.length} of ${count(hooks.length, "webhook")}`;
    keyed(list, shown, (hook) => hook.policy_id, row);
  }
  draw();
  paint(`${project.name}: webhooks`, [["#/projects", "Projects"]],
    h("div", { class: "head" }, h("h1", {}, project.name, h("span", { class: "sub" }, " webhooks")),
      may("create") && link(`${hooksAt(project)}/new`, "New webhook", { class: "button primary" })),
    hooks.length ? [tools, number, columns(), list] : nothing(may));
  await poll(5, signal, look);
}

const nothing = (may) => h("p", { class: "empty" }, "No webhook yet. ", may("create") && "A webhook tells another system what happens in this project: artifacts pushed, scans finished, quotas exceeded.");

const columns = () => h("div", { class: "hook columns", "aria-hidden": "true" },
  ["Webhook", "Last delivery", "Succeeded, 24 h", "Mean time, 24 h", "Waiting", ""].map((text) => h("div", {}, text)));

const hookOf = (state, policy) => ({ ...state, description: policy?.description, event_types: policy?.event_types ?? [] });

async function renew(project, known, signal) {
  for (const policy of await api.all(api.policies(project), signal)) known.set(policy.id, policy);
}

// The filters stand in the address, so that a link to the page keeps them.
function filters(project, query, changed) {
  const search = h("input", { type: "search", id: "search", placeholder: "Name, endpoint or event", value: query.get("find") ?? "", autocomplete: "off" });
  const which = h("select", { id: "which", value: query.get("show") ?? "all" }, Object.entries(FILTERS).map(([value, [text]]) => h("option", { value }, text)));
  const note = () => {
    const set = Object.entries({ find: search.value.trim(), show: which.value === "all" ? "" : which.value }).filter(([, value]) => value);
    history.replaceState(null, "", hooksAt(project) + (set.length ? `?${new URLSearchParams(set)}` : ""));
    changed();
  };
  search.addEventListener("input", note);
  which.addEventListener("change", note);
  const wanted = (hook) => (FILTERS[which.value] ?? FILTERS.all)[1](hook) && words(hook).includes(search.value.trim().toLowerCase());
  const tools = h("div", { class: "tools" }, tool("Find", search), tool("Show", which));
  return { tools, wanted };
}

const words = (hook) => [hook.name, hook.description, ...hook.targets.map((target) => target.address), ...hook.event_types.map(event)].join("\n").toLowerCase();

function hookRow(page, hook, look) {
  const { project } = page;
  const slots = day(hook.targets);
  return h("li", { class: "hook" },
    h("div", { class: "what" },
      h("div", { class: "name" }, hook.enabled ? chip("Enabled", "good") : chip("Deactivated", "off"),
        link(hookAt(project, hook.policy_id), hook.name || `Webhook ${hook.policy_id}`, { "data-focus": "name" })),
      hook.targets.map((target) => h("div", { class: "address", title: target.address }, h("span", { class: "type" }, TYPES[target.type] ?? target.type), " ", host(target.address))),
      h("div", { class: "muted events" }, hook.event_types.map(event).join(", "))),
    h("div", { "data-label": "Last delivery" }, last(project, hook)),
    h("div", { "data-label": "Succeeded, 24 h" }, shares(slots)),
    h("div", { "data-label": "Mean time, 24 h" }, latency(slots)),
    h("div", { "data-label": "Waiting" }, waitingText(hook.targets), hook.targets.filter((target) => hook.enabled && target.lane.closed).map((target) => h("div", {}, laneChip(target), " ", laneText(target)))),
    h("div", { class: "buttons" }, rowButtons(page, hook, look)));
}

function last(project, hook) {
  const { last_delivery: delivery } = hook;
  if (!delivery) return h("span", { class: "muted" }, "Never");
  return [stateChip(delivery), " ", link(deliveryAt(project, hook.policy_id, delivery.id), ago(delivery.updated_at), { class: "quiet", "data-focus": "last" })];
}

function rowButtons({ project, may }, hook, look) {
  const id = hook.policy_id;
  const small = (focus, text) => ({ class: "small", "data-focus": focus, "aria-label": `${text} ${hook.name}` });
  const toggle = hook.enabled ? "Deactivate" : "Enable";
  return [
    may("update") && button("Test", () => test(project, id), small("test", "Test")),
    may("update") && button(toggle, () => enable(project, id, !hook.enabled).then(look), small("toggle", toggle)),
    may("update") && link(`${hookAt(project, id)}/edit`, "Edit", { ...small("edit", "Edit"), class: "button small" }),
  ];
}
