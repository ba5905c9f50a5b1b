// All projects of the caller, with what waits in each.

import * as api from "./api.js";
import { hooksAt } from "./actions.js";
import { h, keyed, link, tool } from "./dom.js";
import { day, percent, sums } from "./plots.js";
import { poll } from "./polling.js";
import { cell, head, row, table } from "./tables.js";
import { chip, seconds } from "./words.js";

const AT_ONCE = 4;

export async function projectsPage({ signal, paint }) {
  const projects = await api.get(api.projects(), {}, signal);
  const body = h("tbody");
  const list = table("Projects", ["Project", "Webhooks", "Waiting", "Oldest", "Succeeded in 24 h", "Endpoints"], body);
  const search = h("input", { type: "search", id: "search", placeholder: "Name", autocomplete: "off" });
  const states = new Map();
  const draw = () => keyed(body, found(projects, search.value, states), ({ project }) => project.id, projectRow);
  search.addEventListener("input", draw);
  draw();
  paint("Projects", [], h("h1", {}, "Projects"),
    projects.length > 8 && h("div", { class: "tools" }, tool("Find", search)),
    projects.length ? list : h("p", { class: "empty" }, "There is no project whose webhooks you may see."));
  await poll(15, signal, () => look(projects, states, draw, signal));
}

function found(projects, wanted, states) {
  const named = projects.filter((project) => project.name.toLowerCase().includes(wanted.trim().toLowerCase()));
  return named.map((project) => ({ project, state: states.get(project.id) }));
}

// A few projects at a time: there may be many.
async function look(projects, states, draw, signal) {
  const left = [...projects];
  const worker = async () => {
    for (let project = left.shift(); project && !signal.aborted; project = left.shift()) {
      states.set(project.id, summed(await api.get(api.overview(project), {}, signal)));
      draw();
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

function summed(policies) {
  const targets = policies.flatMap((policy) => policy.targets);
  const oldest = targets.map((target) => target.oldest_waiting_seconds).filter((age) => age !== null && age !== undefined);
  return {
    all: policies.length,
    enabled: policies.filter((policy) => policy.enabled).length,
    waiting: targets.reduce((sum, target) => sum + target.waiting, 0),
    oldest: oldest.length ? Math.max(...oldest) : null,
    closed: targets.filter((target) => target.lane.closed && !["disabled", "switched_off"].includes(target.lane.why)).length,
    share: sums(day(targets)).share,
  };
}

function projectRow({ project, state }) {
  const name = head(link(hooksAt(project), project.name, { "data-focus": "name" }));
  if (!state) return row(name, ["Webhooks", "Waiting", "Oldest", "Succeeded", "Endpoints"].map((label) => cell(label, "…")));
  const closed = state.closed ? chip(`${state.closed} closed`, "bad") : chip("All open", "good");
  return row(name,
    cell("Webhooks", state.enabled === state.all ? String(state.all) : `${state.all}, ${state.enabled} enabled`),
    cell("Waiting", state.waiting.toLocaleString("en")),
    cell("Oldest", seconds(state.oldest)),
    cell("Succeeded", percent(state.share)),
    cell("Endpoints", state.all ? closed : "–"));
}
