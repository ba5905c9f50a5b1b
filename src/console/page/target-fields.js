// The fields of one endpoint.

import { button, h } from "./dom.js";
import { TYPES } from "./words.js";

// What the API shows in place of a secret. Sent back, it keeps the secret.
const MASK = "********";

const HINTS = {
  http: "Events are sent there as JSON by POST. An address with https:// is sent to by TLS.",
  slack: "The URL of a Slack incoming webhook. It is a secret, and is shown masked.",
};

let last = 0;

export function targetFields(stored, choices, isOld) {
  const key = ++last;
  const id = (name) => `${name}-${key}`;
  const types = choices.notify_type.map((type) => h("option", { value: type }, TYPES[type] ?? type));
  const type = h("select", { id: id("type"), value: stored.type }, types);
  const format = h("select", { id: id("format") });
  const address = h("input", { id: id("address"), type: "url", inputmode: "url", autocomplete: "off", spellcheck: "false", placeholder: "https://", value: stored.address ?? "" });
  const auth = h("input", { id: id("auth"), type: "password", autocomplete: "off", spellcheck: "false", value: stored.auth_header ?? "" });
  const verify = h("input", { id: id("verify"), type: "checkbox", checked: !stored.skip_cert_verify });
  const legend = h("legend");
  const hint = h("p", { class: "hint", id: id("hint") });
  const isStored = isOld && stored.auth_header === MASK;
  const reveal = button("Show", () => show(auth, reveal), { class: "small", "aria-pressed": "false", "aria-label": "Show the auth header" });
  const formatRow = field("payload_format", format.id, "Payload format", format);
  const authRow = field("auth_header", auth.id, ["Auth header ", h("span", { class: "muted" }, "(optional)")], h("div", { class: "with-button" }, auth, reveal),
    h("p", { class: "hint", id: id("auth-hint") }, isStored ? `One is stored: ${MASK} keeps it. Type to replace it, or clear the field to remove it.` : "Sent as the header Authorization, for example: Bearer TOKEN"));
  auth.setAttribute("aria-describedby", id("auth-hint"));
  address.setAttribute("aria-describedby", id("hint"));
  // A mask with something typed behind it would be neither the old nor a new secret.
  auth.addEventListener("focus", () => auth.value === MASK && auth.select());
  const drop = h("button", { type: "button", class: "small" }, "Remove");
  const element = h("fieldset", { class: "target" }, legend,
    h("div", { class: "pair" }, field("type", type.id, "Notify type", type), formatRow),
    field("address", address.id, "Endpoint URL", address, hint), authRow,
    field("skip_cert_verify", verify.id, "Verify remote certificate", verify), drop);
  const adapt = () => {
    const formats = choices.payload_formats.find((row) => row.notify_type === type.value)?.formats ?? [];
    format.replaceChildren(...formats.map((name) => h("option", { value: name }, name)));
    if (formats.includes(stored.payload_format)) format.value = stored.payload_format;
    formatRow.hidden = formats.length === 0;
    // Nothing sends it to Slack, in Harbor neither.
    authRow.hidden = type.value === "slack";
    hint.textContent = HINTS[type.value] ?? "";
  };
  type.addEventListener("change", adapt);
  adapt();
  return { element, read, missing, number };

  function read() {
    const isSlack = type.value === "slack";
    // Members that this form does not know stay as they are.
    const { payload_format: _, auth_header: __, ...rest } = stored;
    const target = { ...rest, type: type.value, address: address.value.trim(), skip_cert_verify: !verify.checked };
    if (!formatRow.hidden) target.payload_format = format.value;
    if (auth.value && !isSlack) target.auth_header = auth.value;
    return target;
  }

  function missing(n) {
    return address.value.trim() ? [] : [[`targets[${n}].address`, "Give the URL of the endpoint."]];
  }

  function number(n, of, remove) {
    legend.textContent = of === 1 ? "Endpoint" : `Endpoint ${n + 1}`;
    element.querySelectorAll("[data-member]").forEach((row) => row.setAttribute("data-field", `targets[${n}].${row.dataset.member}`));
    drop.hidden = of === 1;
    drop.setAttribute("aria-label", `Remove endpoint ${n + 1}`);
    drop.onclick = remove;
  }
}

function field(member, id, label, input, ...hints) {
  const isBox = input.type === "checkbox";
  const name = h("label", { for: id }, label);
  return h("div", { class: isBox ? "field check" : "field", "data-member": member }, isBox ? [input, name] : [name, input], hints);
}

function show(input, reveal) {
  const shown = input.type === "password";
  input.type = shown ? "text" : "password";
  reveal.textContent = shown ? "Hide" : "Show";
  reveal.setAttribute("aria-pressed", String(shown));
}
