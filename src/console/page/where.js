// Which project a webhook belongs to, for lists that know its number only.

import * as api from "./api.js";
import { deliveryAt, hookAt } from "./actions.js";
import { link } from "./dom.js";

export class Whereabouts {
  #found = new Map();
  #asked = new Set();
  #signal;

  constructor(signal) {
    this.#signal = signal;
  }

  // Looks for those that are not known yet, project by project until all are found; each is looked for once.
  async find(policies) {
    const missing = policies.filter((id) => !this.#asked.has(id));
    missing.forEach((id) => this.#asked.add(id));
    if (missing.length === 0) return;
    for (const project of await api.get(api.projects(), {}, this.#signal)) {
      const states = await api.get(api.overview(project), {}, this.#signal);
      states.forEach(({ policy_id, name }) => this.#found.set(policy_id, { project, name }));
      if (missing.every((id) => this.#found.has(id))) return;
    }
  }

  hook(id) {
    const at = this.#found.get(id);
    return at ? link(hookAt(at.project, id), `${at.project.name} / ${at.name}`) : `#${id}`;
  }

  delivery(id, delivery) {
    const at = this.#found.get(id);
    return at ? link(deliveryAt(at.project, id, delivery), `#${delivery}`) : `#${delivery}`;
  }
}
