// The words for what the API names, and for numbers and times.

import { h } from "./dom.js";

// Harbor's labels.
const EVENTS = {
  PUSH_ARTIFACT: "Artifact pushed",
  PULL_ARTIFACT: "Artifact pulled",
  DELETE_ARTIFACT: "Artifact deleted",
  QUOTA_EXCEED: "Quota exceed",
  QUOTA_WARNING: "Quota near threshold",
  SCANNING_FAILED: "Scanning failed",
  SCANNING_STOPPED: "Scanning stopped",
  SCANNING_COMPLETED: "Scanning finished",
  REPLICATION: "Replication status changed",
  TAG_RETENTION: "Tag retention finished",
};

export const TYPES = { http: "HTTP", slack: "Slack" };

// Why a lane is closed: short, and in a sentence.
export const closed = (name) => CLOSED[name] ?? [name, name];

// The states of a delivery: the word, and the look.
export const STATES = {
  due: ["Waiting", "wait"],
  leased: ["Sending", "busy"],
  parked: ["Parked", "off"],
  delivered: ["Delivered", "good"],
  dead: ["Failed", "bad"],
  cancelled: ["Cancelled", "off"],
};

const REASONS = {
  exhausted: "every attempt failed",
  expired: "it became too old",
  lane_full: "too many waited for this endpoint",
  format: "its body could not be written",
  poison: "its workers vanished again and again",
  blocked: "the address is not allowed",
  refused: "the receiver refused it for good",
  target_gone: "the endpoint was removed",
  operator: "by hand",
};

const CLOSED = {
  switched_off: ["Switched off", "for all projects"],
  disabled: ["Deactivated", "by its administrators"],
  sealed: ["Sealed", "its secrets cannot be unsealed"],
  retry_after: ["Asked to wait", "the receiver asked to wait"],
  circuit_open: ["Circuit open", "too many failures in a row"],
  target_disabled: ["Disabled", "after failing for too long"],
  project_busy: ["Project busy", "the project has too much in hand"],
};

const OUTCOMES = {
  blocked: "Address not allowed",
  dns: "Name not found",
  connect: "No connection",
  tls: "TLS failed",
  timeout: "Timed out",
  reset: "Connection broke",
  protocol: "Answer is not HTTP",
  too_large: "Answer too large",
  panic: "Transport panicked",
  other: "Failed",
};

export const event = (name) => EVENTS[name] ?? name;
export const reason = (name) => REASONS[name] ?? name;
export const outcome = (attempt) => (attempt.status ? `HTTP ${attempt.status}` : OUTCOMES[attempt.outcome] ?? "Failed");
export const isOver = (delivery) => ["delivered", "dead", "cancelled"].includes(delivery.state);

// The last slash-free words of an address tell most; the whole stands in its title.
export const host = (address) => address.replace(/^https?:\/\//, "");

// A delivery that failed and waits is a retry.
export function stateOf(delivery) {
  const [word, look] = STATES[delivery.state] ?? [delivery.state, "off"];
  return delivery.state === "due" && delivery.attempts > 0 ? ["Retrying", "warn"] : [word, look];
}

export const chip = (word, look) => h("span", { class: `chip ${look}` }, word);
export const stateChip = (delivery) => chip(...stateOf(delivery));

export function milliseconds(ms) {
  if (ms === null || ms === undefined) return "–";
  return ms < 1000 ? `${Math.round(ms)}\u00a0ms` : `${(ms / 1000).toFixed(ms < 10000 ? 1 : 0)}\u00a0s`;
}

export function seconds(s) {
  if (s === null || s === undefined) return "–";
  const units = [[86400, "d"], [3600, "h"], [60, "min"]];
  const [size, unit] = units.find(([size]) => s >= size) ?? [1, "s"];
  return `${Math.floor(s / size)}\u00a0${unit}`;
}

export const count = (n, one, many = `${one}s`) => `${n.toLocaleString("en")} ${n === 1 ? one : many}`;

export function bytes(n) {
  if (n === null || n === undefined) return "–";
  return n < 1024 ? `${n} B` : n < 1048576 ? `${(n / 1024).toFixed(1)} KiB` : `${(n / 1048576).toFixed(1)} MiB`;
}

const long = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const exact = new Intl.DateTimeFormat(undefined, {
  year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3,
});

export const at = (time) => h("time", { datetime: time, title: time }, long.format(new Date(time)));
export const exactlyAt = (time) => h("time", { datetime: time, title: time }, exact.format(new Date(time)));

// How long ago, kept up to date by `tick`.
export function ago(time) {
  const element = h("time", { datetime: time, "data-ago": true, title: long.format(new Date(time)) });
  return refresh(element);
}

// How long still, kept up to date by `tick`.
export function until(s) {
  return refresh(h("span", { "data-until": Date.now() + s * 1000 }));
}

function refresh(element) {
  const text = element.dataset.until ? still(Number(element.dataset.until)) : since(Date.parse(element.dateTime));
  if (element.textContent !== text) element.textContent = text;
  return element;
}

function since(then) {
  const s = (Date.now() - then) / 1000;
  return s < 2 ? "just now" : `${seconds(s)} ago`;
}

function still(then) {
  const s = Math.ceil((then - Date.now()) / 1000);
  return s <= 0 ? "now" : `in ${seconds(s)}`;
}

setInterval(() => document.hidden || document.querySelectorAll("[data-ago], [data-until]").forEach(refresh), 1000);
