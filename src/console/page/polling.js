// Asks again and again while the page is looked at.

import { ApiError } from "./api.js";
import { alarm } from "./dom.js";

const LONGEST = 30;

// Does the work now and then every so many seconds, until the signal; not while the page is hidden, and less often while the
// server is in trouble. The work may give other seconds, or null to end.
export async function poll(interval, signal, work) {
  let wait = interval;
  while (!signal.aborted) {
    try {
      const next = await work();
      if (next === null) return;
      wait = next ?? interval;
    } catch (error) {
      if (signal.aborted || error.name === "AbortError") return;
      // Only what can pass by itself is asked again.
      if (!(error instanceof ApiError) || (error.status >= 400 && error.status < 500)) throw error;
      alarm(`${error.message} Trying again.`);
      wait = Math.min(LONGEST, wait * 2);
    }
    await pause(wait, signal);
    await shown(signal);
  }
}

export function pause(seconds, signal) {
  return new Promise((done) => {
    const timer = setTimeout(done, seconds * 1000);
    signal?.addEventListener("abort", () => { clearTimeout(timer); done(); }, { once: true });
  });
}

function shown(signal) {
  if (!document.hidden) return undefined;
  return new Promise((done) => {
    const look = () => {
      if (document.hidden && !signal.aborted) return;
      document.removeEventListener("visibilitychange", look);
      done();
    };
    document.addEventListener("visibilitychange", look);
    signal.addEventListener("abort", look, { once: true });
  });
}
