// Small plots of the last day, drawn from counters by the hour.

import { h, svg } from "./dom.js";
import { count, milliseconds } from "./words.js";

const HOURS = 24;
const HOUR = 3600000;
const STEP = 4;
const HEIGHT = 24;

// The counters of several targets, hour by hour; hours without attempts are empty.
export function day(targets, now = Date.now()) {
  const first = Math.floor(now / HOUR) - HOURS + 1;
  const slots = Array.from({ length: HOURS }, () => ({ delivered: 0, failed: 0, spent: 0, max_ms: 0 }));
  for (const hour of targets.flatMap((target) => target.hours ?? [])) {
    const slot = slots[Math.floor(Date.parse(hour.hour) / HOUR) - first];
    if (slot) add(slot, hour);
  }
  return slots;
}

function add(slot, hour) {
  slot.delivered += hour.delivered;
  slot.failed += hour.failed;
  slot.spent += hour.mean_ms * (hour.delivered + hour.failed);
  slot.max_ms = Math.max(slot.max_ms, hour.max_ms);
}

export function sums(slots) {
  const sum = { delivered: 0, failed: 0, spent: 0, max_ms: 0 };
  for (const slot of slots) add(sum, { ...slot, mean_ms: mean(slot) ?? 0 });
  const attempts = sum.delivered + sum.failed;
  return { ...sum, attempts, share: attempts ? sum.delivered / attempts : null, mean_ms: mean(sum) };
}

const attempts = (slot) => slot.delivered + slot.failed;
const mean = (slot) => (attempts(slot) ? slot.spent / attempts(slot) : null);

// Rounded down, so that 100 % means that nothing failed.
export const percent = (share) => (share === null ? "–" : `${Math.floor(share * 100)} %`);

// How many attempts succeeded and failed, with the share in words.
export function shares(slots) {
  const { attempts: total, delivered, share } = sums(slots);
  const most = Math.max(1, ...slots.map(attempts));
  const failed = slots.map((slot) => tall(slot.failed, most));
  const good = slots.map((slot, n) => bar(n, failed[n], tall(slot.delivered, most)));
  const shapes = [base(), path("good", good), path("bad", failed.map((height, n) => bar(n, 0, height)))];
  const label = total ? `${delivered} of ${count(total, "attempt")} succeeded in the last 24 hours` : "No attempt in the last 24 hours";
  return figure(percent(share), label, shapes, share !== null && share < 0.9 && "bad");
}

// How long attempts took on average, with the mean in words.
export function latency(slots) {
  const { mean_ms, max_ms } = sums(slots);
  const means = slots.map(mean);
  const most = Math.max(1, ...means.filter((ms) => ms !== null));
  const bars = means.map((ms, n) => bar(n, 0, tall(ms ?? 0, most)));
  const label = mean_ms === null ? "No attempt in the last 24 hours"
    : `Mean time of an attempt ${milliseconds(mean_ms)}, longest ${milliseconds(max_ms)}, in the last 24 hours`;
  return figure(milliseconds(mean_ms), label, [base(), path("time", bars)]);
}

// A time against the longest of its kind.
export function spent(ms, longest) {
  const width = Math.max(2, Math.round((ms / longest) * 90));
  return svg("svg", { class: "plot", width: 90, height: 8, "aria-hidden": "true" },
    svg("rect", { class: "base", width: 90, height: 8, rx: 2 }), svg("rect", { class: "time", width, height: 8, rx: 2 }));
}

// Few of many still show.
const tall = (n, most) => (n ? Math.max(2, Math.round((n / most) * (HEIGHT - 1))) : 0);

// One path for all bars of a look: a page may have thousands of plots.
const path = (look, bars) => svg("path", { class: look, d: bars.join("") });

const bar = (n, below, height) => (height > 0 ? `M${n * STEP} ${HEIGHT - 1 - below}h${STEP - 1}v${-height}h${1 - STEP}z` : "");

const base = () => svg("rect", { class: "base", x: 0, y: HEIGHT - 1, width: HOURS * STEP - 1, height: 1 });

function figure(text, label, shapes, look) {
  const size = { width: HOURS * STEP, height: HEIGHT, viewBox: `0 0 ${HOURS * STEP} ${HEIGHT}` };
  const plot = svg("svg", { class: "plot", role: "img", "aria-label": label, ...size }, svg("title", {}, label), shapes);
  return h("div", { class: "figure" }, plot, h("span", { class: `figure-text ${look || ""}` }, text));
}
