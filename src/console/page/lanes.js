// How an endpoint is doing: open or closed, and what waits for it.

import { openLane } from "./actions.js";
import { button, h } from "./dom.js";
import { chip, closed, count, seconds, until } from "./words.js";

// Closed by failures, not because somebody switched it off: these can be opened by hand.
const BY_FAILURES = ["circuit_open", "target_disabled", "retry_after"];

export const isTrouble = (target) => target.lane.closed && !["disabled", "switched_off"].includes(target.lane.why);

// Why the lane is closed and until when, in words; nothing if it is open.
export function laneText(target) {
  if (!target.lane.closed) return null;
  const { why, opens_in_seconds: opens } = target.lane;
  const end = opens === null || opens === undefined ? [] : [", tried again ", until(opens)];
  return h("span", { class: "muted" }, closed(why)[1], end);
}

export function laneChip(target) {
  if (!target.lane.closed) return target.failures_in_row > 0 ? chip(`${target.failures_in_row} failed in a row`, "warn") : chip("Open", "good");
  return chip(closed(target.lane.why)[0], isTrouble(target) ? "bad" : "off");
}

export function openButton(project, target, again) {
  if (!target.lane.closed || !BY_FAILURES.includes(target.lane.why)) return null;
  return button("Try now", () => openLane(project, target.target_id).then(again), { class: "small", "data-focus": `open-${target.target_id}` });
}

export function waitingText(targets) {
  const waiting = targets.reduce((sum, target) => sum + target.waiting, 0);
  const parked = targets.reduce((sum, target) => sum + (target.parked ?? 0), 0);
  const aside = parked ? [" ", chip(`${parked} parked`, "off")] : [];
  if (!waiting) return [h("span", { class: "muted" }, "None waiting"), aside];
  const oldest = Math.max(...targets.map((target) => target.oldest_waiting_seconds ?? 0));
  return [h("span", {}, count(waiting, "waiting", "waiting"), h("span", { class: "muted" }, `, oldest ${seconds(oldest)}`)), aside];
}
