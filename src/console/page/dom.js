// Makes elements. What is handed in becomes text or an attribute, and never markup.

const SVG = "http://www.w3.org/2000/svg";

export const h = (tag, props = {}, ...children) => fill(document.createElement(tag), props, children);

export const svg = (tag, props = {}, ...children) => fill(document.createElementNS(SVG, tag), props, children);

function fill(element, props, children) {
  const kept = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  element.append(...kept);
  // After the children, so that the value of a <select> finds its option.
  for (const [name, value] of Object.entries(props)) set(element, name, value);
  return element;
}

function set(element, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
  else if (name === "value" || name === "checked") element[name] = value;
  else element.setAttribute(name, value === true ? "" : String(value));
}

// A field of a row of filters, with its name.
export const tool = (name, input) => h("div", { class: "tool" }, h("label", { for: input.id }, name), input);

export const link = (href, text, props = {}) => h("a", { href, ...props }, text);

// A button that is out of order while its work runs, so that nothing is done twice.
export function button(text, work, props = {}) {
  const click = async (event) => {
    const self = event.currentTarget;
    if (self.getAttribute("aria-busy")) return;
    self.setAttribute("aria-busy", "true");
    try {
      await work(event);
    } finally {
      self.removeAttribute("aria-busy");
    }
  };
  return h("button", { type: "button", onclick: click, ...props }, text);
}

const known = new WeakMap();
const signs = new WeakMap();

// Holds the container's children against the items, and makes anew only those that changed: the rest keep their place and
// focus. An element with the attribute data-focus gets the focus back when its row is made anew.
export function keyed(container, items, id, make) {
  const before = known.get(container) ?? new Map();
  const after = new Map();
  for (const item of items) {
    const sign = signOf(item);
    const old = before.get(id(item));
    after.set(id(item), old?.sign === sign ? old : { sign, element: instead(old?.element, make(item)) });
  }
  known.set(container, after);
  place(container, [...after.values()].map((row) => row.element));
}

// What an item says, asked once: items are not changed.
function signOf(item) {
  if (!signs.has(item)) signs.set(item, JSON.stringify(item));
  return signs.get(item);
}

function instead(old, element) {
  if (!old) return element;
  const focused = old.contains(document.activeElement) && document.activeElement.dataset.focus;
  old.replaceWith(element);
  if (focused) element.querySelector(`[data-focus="${focused}"]`)?.focus();
  return element;
}

function place(container, elements) {
  const wanted = new Set(elements);
  for (const child of [...container.children]) if (!wanted.has(child)) child.remove();
  let next = container.firstElementChild;
  for (const element of elements) {
    if (element === next) next = next.nextElementSibling;
    else container.insertBefore(element, next);
  }
}

// What a screen reader says, and what everybody sees for a while.
export const say = (text) => show("said", text);
export const alarm = (text) => show("alarm", text);

const hiding = {};

function show(id, text) {
  const place = document.getElementById(id);
  place.textContent = text;
  place.classList.toggle("shown", text !== "");
  clearTimeout(hiding[id]);
  // A message in an empty region is said even if it is the same as the last.
  if (text) hiding[id] = setTimeout(() => show(id, ""), 8000);
}
