// Which field an error concerns, and how it is shown there.

import { h } from "./dom.js";

// Harbor's messages, for servers that do not say which field is meant.
const MESSAGES = [
  [/event type/, "event_types"],
  [/already exists|^name\b/, "name"],
  [/empty notification target/, "targets"],
  [/empty URL|invalid scheme|address|parse|URL/, "targets[0].address"],
  [/target type/, "targets[0].type"],
  [/payload format/, "targets[0].payload_format"],
  [/auth_header/, "targets[0].auth_header"],
  [/skip_cert_verify/, "targets[0].skip_cert_verify"],
];

export const place = ({ field, message }) => field ?? MESSAGES.find(([form]) => form.test(message))?.[1] ?? "";

// The marks of a form. A field is a row with the name in data-field, or an input with it as its id.
export function marks(form) {
  const whole = () => form.querySelector("#problem");
  return { show, clear, focus };

  function show(field, message) {
    const row = rowOf(field);
    if (!row) {
      whole().textContent = message;
      whole().hidden = false;
      return;
    }
    const input = row.matches("fieldset") ? row : row.querySelector("input, select, textarea");
    const id = `problem-of-${field.replace(/\W+/g, "-")}`;
    const problem = h("p", { class: "problem", id }, message);
    if (row.matches("fieldset")) row.querySelector("legend").after(problem);
    else row.append(problem);
    row.classList.add("wrong");
    (row.matches("fieldset") ? row.querySelectorAll("input") : [input]).forEach((element) => element.setAttribute("aria-invalid", "true"));
    input.dataset.described = input.getAttribute("aria-describedby") ?? "";
    input.setAttribute("aria-describedby", `${id} ${input.dataset.described}`.trim());
  }

  function rowOf(field) {
    const rows = [...form.querySelectorAll("[data-field]")];
    const named = form.elements.namedItem(field);
    return rows.find((row) => row.dataset.field === field) ?? (field && named?.closest?.(".field"));
  }

  function clear() {
    whole().hidden = true;
    form.querySelectorAll(".problem:not(#problem)").forEach((problem) => problem.remove());
    form.querySelectorAll(".wrong").forEach((row) => row.classList.remove("wrong"));
    form.querySelectorAll("[aria-invalid]").forEach((element) => element.removeAttribute("aria-invalid"));
    form.querySelectorAll("[data-described]").forEach((element) => {
      const { described } = element.dataset;
      if (described) element.setAttribute("aria-describedby", described);
      else element.removeAttribute("aria-describedby");
      delete element.dataset.described;
    });
  }

  function focus() {
    const wrong = form.querySelector("[aria-invalid]");
    if (wrong) wrong.focus();
    else whole().scrollIntoView({ block: "center" });
  }
}
