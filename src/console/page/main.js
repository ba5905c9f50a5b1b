// Which page is shown: the address behind the # says it, so that back, forward and bookmarks work.

import * as api from "./api.js";
import { alarm, button, h, link } from "./dom.js";
import { deliveryPage } from "./delivery.js";
import { formPage } from "./form.js";
import { projectsPage } from "./projects.js";
import { signInPage } from "./sign-in.js";
import { systemPage } from "./system.js";
import { webhookPage } from "./webhook.js";
import { webhooksPage } from "./webhooks.js";

const PAGES = [
  [/^\/(projects)?$/, projectsPage],
  [/^\/system$/, systemPage],
  [/^\/projects\/(?<project>[^/]+)$/, webhooksPage],
  [/^\/projects\/(?<project>[^/]+)\/new$/, formPage],
  [/^\/projects\/(?<project>[^/]+)\/(?<policy>\d+)$/, webhookPage],
  [/^\/projects\/(?<project>[^/]+)\/(?<policy>\d+)\/edit$/, formPage],
  [/^\/projects\/(?<project>[^/]+)\/(?<policy>\d+)\/executions\/(?<delivery>\d+)$/, deliveryPage],
];

const main = document.getElementById("main");
let shown = new AbortController();
let first = true;

// How far down each place was left, for those who come back to it; a link begins at the top.
const depths = new Map();
let here = location.hash;
let isLink = true;

// Where the page is: its parts, and the filters behind the question mark.
function place() {
  const [path, query] = location.hash.slice(1).split("?");
  for (const [form, page] of PAGES) {
    const found = form.exec(path || "/");
    if (found) return { page, query: new URLSearchParams(query), ...decoded(found.groups) };
  }
  return { page: notFound, query: new URLSearchParams() };
}

const decoded = (parts = {}) => Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, decode(part)]));

function decode(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

async function show() {
  depths.set(here, window.scrollY);
  here = location.hash;
  shown.abort();
  shown = new AbortController();
  const { signal } = shown;
  alarm("");
  document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
  main.setAttribute("aria-busy", "true");
  // What is still shown belongs to the page before, and must not act on the address of this one.
  main.inert = true;
  try {
    const session = await api.get(api.session(), {}, signal);
    const where = place();
    frame(session, where);
    const projects = where.project === undefined ? [] : await api.get(api.projects(), {}, signal);
    await where.page(context(where, session, projects, signal));
  } catch (error) {
    if (!signal.aborted) failed(error);
  }
}

function context(where, session, projects, signal) {
  const named = projects.find((p) => p.name === where.project) ?? projects.find((p) => String(p.id) === where.project);
  if (where.project !== undefined && !named) throw new api.ApiError(404, { message: "There is no such project." });
  return { ...where, session, signal, project: named, may: (action) => named.actions.includes(action), paint };
}

// Puts the page in place. `trail` are the links above its title.
function paint(title, trail, ...content) {
  document.title = `${title} · Webhooks`;
  const crumbs = trail.map(([href, text]) => h("li", {}, link(href, text)));
  const nav = crumbs.length > 0 && h("nav", { "aria-label": "Breadcrumb", class: "crumbs" }, h("ol", {}, crumbs));
  main.replaceChildren(...[nav || [], content].flat(Infinity).filter(Boolean));
  main.removeAttribute("aria-busy");
  main.inert = false;
  // Those who do not see the page change hear its new title; on the first page the browser says it.
  const heading = main.querySelector("h1");
  heading?.setAttribute("tabindex", "-1");
  if (!first) heading?.focus({ preventScroll: true });
  first = false;
  window.scrollTo(0, isLink ? 0 : depths.get(here) ?? 0);
  isLink = false;
}

function frame(session, where) {
  const system = session.system_admin && link("#/system", "System", current(where.page === systemPage));
  const projects = link("#/projects", "Projects", current(where.page !== systemPage));
  document.getElementById("nav").replaceChildren(...[projects, system].filter(Boolean));
  const out = api.isSignedIn() && button("Sign out", () => { api.signOut(); return show(); }, { class: "plain" });
  document.getElementById("who").replaceChildren(...[h("span", {}, session.name), out].filter(Boolean));
  switchedOff(session);
}

const current = (is) => (is ? { "aria-current": "page" } : {});

function switchedOff(session) {
  const admin = session.system_admin && link("#/system", "System settings");
  const notice = h("p", { class: "notice" }, "Webhooks are switched off for all projects: nothing is sent. ", admin);
  document.getElementById("notice").replaceChildren(...(session.webhooks_enabled ? [] : [notice]));
}

function failed(error) {
  if (error.status === 401) return signInPage(paint, show, api.isSignedIn());
  const advice = error.status === 403 ? "You may not see this." : error.message;
  const again = button("Try again", show);
  return paint("Error", [["#/projects", "Projects"]], h("h1", {}, error.status === 404 ? "Not found" : "This did not work"), h("p", {}, advice), again);
}

const notFound = () => { throw new api.ApiError(404, { message: "There is no such page." }); };

// A link within the page, which must not be taken for the address of another one.
document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});

document.addEventListener("click", ({ target }) => { isLink = Boolean(target.closest?.("a[href^='#/']")); }, true);
history.scrollRestoration = "manual";

// What no page expected.
window.addEventListener("unhandledrejection", (event) => {
  const { reason } = event;
  const isExpected = reason instanceof api.ApiError || reason?.name === "AbortError";
  // The browser's console is for mistakes of this page.
  if (isExpected) event.preventDefault();
  if (reason?.status === 401) show();
  else if (reason?.name !== "AbortError") alarm(isExpected ? reason.message : "This page made a mistake: reload it.");
});
window.addEventListener("hashchange", show);
window.addEventListener("console:again", show);
show();
