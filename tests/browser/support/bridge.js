// The example registry_bridge as a process, with the console at "/".

import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

const PROGRAM = process.env.REGISTRY_BRIDGE ?? new URL("../../../target/debug/examples/registry_bridge", import.meta.url).pathname;
const DIGEST = "sha256:954b378c375d852eb3c63ab88978f640b4348b01c1b3456a024a81536dafbbf4";

export const TOKEN = "a-token-of-the-tests";

export async function startBridge(...flags) {
  const folder = mkdtempSync(join(tmpdir(), "console-"));
  const ready = join(folder, "ready.json");
  const child = spawn(PROGRAM, ["--listen", "127.0.0.1:0", "--ready-file", ready, "--project", "library=2", "--admin-token", TOKEN,
    "--allow-network", "127.0.0.0/8", "--store", `sqlite:${join(folder, "webhooks.db")}`, ...flags], { stdio: ["ignore", "ignore", "pipe"] });
  let log = "";
  child.stderr.on("data", (text) => { log += text; });
  const url = await listening(ready, child, () => log);
  const stop = async () => {
    const ended = new Promise((done) => child.on("exit", done));
    child.kill();
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  return { url, database: join(folder, "webhooks.db"), stop, ask: (method, path, body) => ask(url, method, path, body), push: (tag) => push(url, tag) };
}

async function listening(ready, child, log) {
  for (let n = 0; n < 300; n++) {
    if (child.exitCode !== null) throw new Error(`the bridge ended: ${log()}`);
    try {
      return JSON.parse(readFileSync(ready, "utf8")).listen;
    } catch {
      await sleep(50);
    }
  }
  throw new Error(`the bridge does not listen: ${log()}`);
}

// A request as another client of the API makes it.
async function ask(url, method, path, body) {
  const headers = { Authorization: `Bearer ${TOKEN}`, "Content-Type": "application/json" };
  const answer = await fetch(url + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await answer.text();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
  return text ? JSON.parse(text) : null;
}

// Something happens in the registry.
const push = (url, tag) => ask(url, "POST", "/projects/2/events", {
  type: "PUSH_ARTIFACT", occur_at: 1680501893, operator: "admin",
  event_data: {
    resources: [{ digest: DIGEST, tag, resource_url: `hub.example.com/library/alpine:${tag}` }],
    repository: { date_created: 1680501000, name: "alpine", namespace: "library", repo_full_name: "library/alpine", repo_type: "private" },
  },
});
