// Adds or edits a webhook: Harbor's fields and choices, for any number of endpoints.

import * as api from "./api.js";
import { hookAt, hooksAt } from "./actions.js";
import { button, h, link, say } from "./dom.js";
import { place, marks } from "./problems.js";
import { targetFields } from "./target-fields.js";
import { event } from "./words.js";

const EMPTY = { name: "", description: "", enabled: true, event_types: [], targets: [{ type: "http", payload_format: "Default" }] };

export async function formPage({ project, policy: id, signal, paint }) {
  const [choices, stored] = await Promise.all([
    api.get(api.events(project), {}, signal),
    id ? api.get(api.policy(project, id), {}, signal) : EMPTY,
  ]);
  const back = id ? hookAt(project, id) : hooksAt(project);
  const form = policyForm(stored, choices, Boolean(id));
  const save = async () => {
    const policy = { ...stored, ...form.read() };
    await (id ? api.put(api.policy(project, id), policy) : api.post(api.policies(project), policy));
    say(`${policy.name} was saved.`);
    location.hash = back;
  };
  form.element.addEventListener("submit", (submitted) => {
    submitted.preventDefault();
    return attempt(form, save);
  });
  form.element.append(h("div", { class: "buttons end" }, link(back, "Cancel", { class: "button" }), h("button", { class: "primary" }, id ? "Save" : "Add")));
  const trail = [["#/projects", "Projects"], [hooksAt(project), project.name]];
  paint(id ? `Edit ${stored.name}` : "New webhook", id ? [...trail, [back, stored.name]] : trail, h("h1", {}, id ? `Edit ${stored.name}` : "New webhook"), form.element);
}

// Saves once at a time, and shows what is wrong beside the field that it concerns.
async function attempt(form, save) {
  if (form.element.getAttribute("aria-busy")) return;
  form.marks.clear();
  const missing = form.missing();
  if (missing.length) return missing.forEach(([field, message]) => form.marks.show(field, message)) ?? form.marks.focus();
  form.element.setAttribute("aria-busy", "true");
  try {
    await save();
  } catch (error) {
    if (error.status === 401 || error.name === "AbortError") throw error;
    form.marks.show(place(error), error.message);
    form.marks.focus();
  } finally {
    form.element.removeAttribute("aria-busy");
  }
}

function policyForm(stored, choices, isOld) {
  const element = h("form", { class: "card", novalidate: true });
  const name = h("input", { id: "name", value: stored.name ?? "", maxlength: 256, autocomplete: "off" });
  const description = h("textarea", { id: "description", rows: 2, value: stored.description ?? "" });
  const enabled = h("input", { id: "enabled", type: "checkbox", checked: stored.enabled });
  const events = eventBoxes(stored.event_types, choices.event_type);
  const targets = targetList(stored.targets ?? [], choices, isOld);
  element.append(
    h("p", { class: "problem", id: "problem", role: "alert", hidden: true }),
    h("div", { class: "field" }, h("label", { for: "name" }, "Name"), name),
    h("div", { class: "field" }, h("label", { for: "description" }, "Description ", h("span", { class: "muted" }, "(optional)")), description),
    events.element, targets.element,
    h("div", { class: "field check" }, enabled, h("label", { for: "enabled" }, "Enabled")));
  const read = () => ({ name: name.value.trim(), description: description.value, enabled: enabled.checked, event_types: events.read(), targets: targets.read() });
  const missing = () => [
    !name.value.trim() && ["name", "Give it a name."],
    events.read().length === 0 && ["event_types", "Choose at least one event."],
    ...targets.missing(),
  ].filter(Boolean);
  return { element, read, missing, marks: marks(element) };
}

function eventBoxes(chosen, offered) {
  // Events that the server does not offer stay visible, so that saving does not lose them unseen.
  const types = [...new Set([...offered, ...chosen])];
  const boxes = types.map((type) => h("input", { type: "checkbox", id: `event-${type}`, name: "event_types", value: type, checked: chosen.includes(type) }));
  const all = (on) => () => boxes.forEach((box) => { box.checked = on; });
  const element = h("fieldset", { class: "field", "data-field": "event_types" }, h("legend", {}, "Events"),
    h("div", { class: "boxes" }, boxes.map((box) => h("div", { class: "check" }, box, h("label", { for: box.id }, event(box.value))))),
    h("div", { class: "buttons" }, button("All", all(true), { class: "small", "aria-label": "All events" }), button("None", all(false), { class: "small", "aria-label": "None of the events" })));
  return { element, read: () => boxes.filter((box) => box.checked).map((box) => box.value) };
}

// The endpoints in their order, by which masks find the stored secrets of those that look the same. With one of them removed
// or added that is not certain: the API refuses it, and says so beside the first of them, whose address is typed anew then.
function targetList(stored, choices, isOld) {
  const list = h("div");
  let targets = stored.map((target) => targetFields(target, choices, isOld));
  const draw = () => {
    targets.forEach((target, n) => target.number(n, targets.length, () => drop(target)));
    list.replaceChildren(...targets.map((target) => target.element));
  };
  const drop = (target) => {
    targets = targets.filter((other) => other !== target);
    draw();
    add.focus();
  };
  const add = button("Add another endpoint", () => {
    targets.push(targetFields(EMPTY.targets[0], choices, false));
    draw();
    targets.at(-1).element.querySelector("select").focus();
  }, { class: "small" });
  draw();
  const element = h("div", { class: "field", "data-field": "targets" }, list, add);
  return { element, read: () => targets.map((target) => target.read()), missing: () => targets.flatMap((target, n) => target.missing(n)) };
}
