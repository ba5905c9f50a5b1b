// The REST API: Harbor's own under BASE, what goes beyond it under EXT.

const { api: BASE, ext: EXT } = document.documentElement.dataset;

// User and password as they were typed. They lie in this variable only: a reload, or another tab, asks again.
let authorization = null;

export const isSignedIn = () => authorization !== null;
export const signOut = () => { authorization = null; };

export function signIn(user, password) {
  const bytes = new TextEncoder().encode(`${user}:${password}`);
  authorization = `Basic ${btoa(String.fromCharCode(...bytes))}`;
}

export class ApiError extends Error {
  constructor(status, { code, message, field } = {}) {
    super(message || `The server answered with status ${status}.`);
    Object.assign(this, { status, code, field });
  }
}

export const get = (url, query, signal) => ask("GET", url, { query, signal }).then(read);
export const text = (url, signal) => ask("GET", url, { signal }).then((answer) => answer.text());
export const post = (url, body = {}) => ask("POST", url, { body }).then(read);
export const put = (url, body) => ask("PUT", url, { body }).then(read);
export const remove = (url) => ask("DELETE", url, {}).then(read);

// Every page of one of Harbor's lists.
export async function all(url, signal) {
  const page = (number) => ask("GET", url, { query: { page: number, page_size: 100 }, signal });
  const first = await page(1);
  const pages = Math.ceil(Number(first.headers.get("X-Total-Count")) / 100);
  const rest = Array.from({ length: Math.max(0, pages - 1) }, (_, n) => page(n + 2).then(read));
  return [await read(first), ...(await Promise.all(rest))].flat();
}

async function ask(method, url, { query = {}, body, signal }) {
  // The header asks servers not to answer with a challenge, at which the browser would open a window of its own.
  const headers = { Accept: "application/json, text/plain", "X-Requested-With": "XMLHttpRequest" };
  if (authorization) headers.Authorization = authorization;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const options = { method, headers, signal, credentials: "same-origin", cache: "no-store" };
  const answer = await send(url + search(query), { ...options, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new ApiError(answer.status, (await read(answer).catch(() => null))?.errors?.[0]);
  return answer;
}

async function send(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, { message: "The server cannot be reached." });
  }
}

function search(query) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== "");
  return given.length ? `?${new URLSearchParams(given)}` : "";
}

async function read(answer) {
  const text = await answer.text();
  return text ? JSON.parse(text) : null;
}

// The addresses. Projects are named by their number, which cannot be mistaken for a name.
export const session = () => `${EXT}/session`;
export const projects = () => `${EXT}/projects`;
export const health = () => `${EXT}/health`;
export const configurations = () => `${BASE}/configurations`;
export const overview = (p) => `${EXT}/projects/${p.id}/overview`;
export const deliveries = (p) => `${EXT}/projects/${p.id}/deliveries`;
export const delivery = (p, id) => `${EXT}/projects/${p.id}/deliveries/${id}`;
export const target = (p, id) => `${EXT}/projects/${p.id}/targets/${id}`;
export const beyond = (p, id) => `${EXT}/projects/${p.id}/policies/${id}`;
export const events = (p) => `${BASE}/projects/${p.id}/webhook/events`;
export const policies = (p) => `${BASE}/projects/${p.id}/webhook/policies`;
export const policy = (p, id) => `${policies(p)}/${id}`;
export const tasks = (p, id, execution) => `${policy(p, id)}/executions/${execution}/tasks`;
