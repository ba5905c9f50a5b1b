// What an administrator does, from signing in to switching everything off. Each part goes on where the one before ended.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { startBridge, TOKEN } from "./support/bridge.js";
import { PATIENCE, assertAccessible, go, openPage, shown, signIn, startBrowser } from "./support/browser.js";
import { startReceiver } from "./support/receiver.js";

let bridge, receiver, browser, page, troubles, meant;
let failed = false;

function step(name, work) {
  test(name, async (t) => {
    if (failed) return t.skip("a step before it failed");
    failed = true;
    await work();
    failed = false;
  });
}

before(async () => {
  [bridge, receiver, browser] = await Promise.all([startBridge("--max-retry", "2", "--retry-schedule", "2s,2s"), startReceiver(), startBrowser()]);
  ({ page, troubles, meant } = await openPage(browser, bridge));
});

after(async () => {
  await Promise.all([browser?.close(), bridge?.stop(), receiver?.stop()]);
});

const button = (name) => page.getByRole("button", { name, exact: true });
const row = (n) => page.locator("tbody tr").nth(n);
const state = (locator, text) => locator.getByText(text, { exact: true }).waitFor();
const quiet = () => assert.deepEqual(troubles, []);
const arrived = (n) => until(() => receiver.seen.length >= n);

async function until(is) {
  const end = Date.now() + PATIENCE;
  while (!is()) {
    assert.ok(Date.now() < end, `not within ${PATIENCE} ms: ${is}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

step("signs in, and is not let in with a wrong password", async () => {
  meant.push(401);
  await page.goto(bridge.url);
  await page.getByLabel("User").fill("admin");
  await page.getByLabel("Password or token").fill("wrong");
  await page.keyboard.press("Enter");
  await page.getByText("User or password is wrong.").waitFor();
  await assertAccessible(page, "sign in");
  await signIn(page, bridge);
  const kept = await page.evaluate(() => [localStorage.length, sessionStorage.length, document.cookie]);
  assert.deepEqual(kept, [0, 0, ""]);
  meant.length = 0;
  quiet();
});

step("adds a webhook, with what is wrong beside its field", async () => {
  await page.getByRole("link", { name: "library" }).click();
  await page.getByText("No webhook yet.").waitFor();
  await page.getByRole("link", { name: "New webhook" }).click();
  await shown(page);
  await button("Add").click();
  assert.equal(await page.getByLabel("Name").getAttribute("aria-invalid"), "true");
  for (const problem of ["Give it a name.", "Choose at least one event.", "Give the URL of the endpoint."]) await page.getByText(problem).waitFor();
  await page.getByLabel("Name").fill("ci");
  await page.getByLabel("Description").fill("Builds after each push");
  await page.getByLabel("Artifact pushed").check();
  await page.getByLabel("Endpoint URL").fill("ftp://127.0.0.1/hook");
  await page.getByLabel("Auth header", { exact: false }).first().fill("Bearer s3cret");
  meant.push(400);
  await button("Add").click();
  const url = page.getByLabel("Endpoint URL");
  await page.locator(".field.wrong").getByText(/scheme/).waitFor();
  assert.equal(await url.evaluate((input) => document.activeElement === input), true);
  await assertAccessible(page, "a form with an error");
  meant.length = 0;
  await url.fill(`${receiver.url}/hook`);
  await button("Add").click();
  await page.getByRole("link", { name: "ci", exact: true }).waitFor();
  quiet();
});

step("edits it: the secret that is not shown stays, and a second endpoint comes", async () => {
  await page.getByRole("link", { name: "Edit ci" }).click();
  await shown(page);
  const auth = page.getByLabel("Auth header", { exact: false }).first();
  assert.equal(await auth.inputValue(), "********");
  await button("Add another endpoint").click();
  await page.getByLabel("Endpoint URL").nth(1).fill(`${receiver.url}/second`);
  await page.getByLabel("Payload format").nth(1).selectOption("CloudEvents");
  await button("Save").click();
  await page.getByRole("heading", { name: "Endpoints" }).waitFor();
  const [policy] = await bridge.ask("GET", "/api/v2.0/projects/2/webhook/policies");
  assert.deepEqual(policy.targets.map((target) => target.payload_format), ["Default", "CloudEvents"]);
  await bridge.push("edited");
  await arrived(2);
  const hook = receiver.seen.find((request) => request.path === "/hook");
  assert.equal(hook.headers.authorization, "Bearer s3cret");
  assert.equal(receiver.seen.find((request) => request.path === "/second").headers.authorization, undefined);
  await state(row(1), "Delivered");
  // And goes again; the first keeps its secret.
  await page.getByRole("link", { name: "Edit", exact: true }).click();
  await button("Remove endpoint 2").click();
  await button("Save").click();
  await page.getByRole("heading", { name: "Endpoint", exact: true }).waitFor();
  quiet();
});

step("watches a failing delivery retry and succeed", async () => {
  receiver.answer([500, 503]);
  await bridge.push("retried");
  await state(row(0), "Retrying");
  await state(row(0), "Delivered");
  assert.equal(await row(0).locator("td").nth(2).innerText(), "3");
  quiet();
});

step("reads its log: the body as sent, each answer, and Harbor's job log", async () => {
  await row(0).getByRole("link").first().click();
  await shown(page);
  const attempts = page.locator(".attempt");
  assert.equal(await attempts.count(), 3);
  for (const [n, status] of ["HTTP 500", "HTTP 503", "HTTP 200"].entries()) await attempts.nth(n).getByText(status).waitFor();
  // Text of others stays text.
  await attempts.nth(0).getByText("the <b>database</b> is locked").waitFor();
  await button("As sent").click();
  assert.equal(await page.getByLabel("Request body").innerText(), receiver.seen.at(-1).body);
  await page.getByRole("button", { name: /^Log of task/ }).click();
  await page.getByLabel("Job log").getByText("success to run webhook job").waitFor();
  await assertAccessible(page, "an execution");
  await page.goBack();
  await page.getByRole("heading", { name: /^ci/ }).waitFor();
  quiet();
});

step("redelivers one that failed for good, then all", async () => {
  receiver.answer([], 500);
  await bridge.push("dead-1");
  await bridge.push("dead-2");
  await state(row(0), "Failed");
  await state(row(1), "Failed");
  await page.getByLabel("State").selectOption("dead");
  await until(async () => (await page.locator("tbody tr").count()) === 2);
  assert.match(page.url(), /state=dead/);
  await page.getByLabel("State").selectOption("");
  receiver.answer([], 200);
  const before = receiver.seen.length;
  await row(0).getByRole("button", { name: /^Redeliver/ }).click();
  await state(row(0), "Delivered");
  assert.equal(receiver.seen.length, before + 1);
  await button("Redeliver all failed").click();
  await page.getByRole("dialog").getByRole("button", { name: "Redeliver", exact: true }).click();
  await state(row(1), "Delivered");
  quiet();
});

step("sends a test and sees its result", async () => {
  await button("Test").click();
  await button("Send").click();
  const dialog = page.getByRole("dialog");
  await state(dialog, "Delivered");
  await dialog.getByText("HTTP 200").waitFor();
  await assertAccessible(page, "a window");
  assert.ok(receiver.seen.at(-1).headers["webhook-test"]);
  await page.keyboard.press("Escape");
  await state(row(0), "Test");
  assert.equal(await button("Test").evaluate((element) => document.activeElement === element), true);
  quiet();
});

step("deactivates it, and cancels what waits", async () => {
  receiver.answer([], 500);
  await bridge.push("waits");
  await state(row(0), "Retrying");
  await button("Deactivate").click();
  await button("Enable").waitFor();
  const before = receiver.seen.length;
  await bridge.push("nobody-hears-it");
  await row(0).getByRole("button", { name: /^Cancel/ }).click();
  await state(row(0), "Cancelled");
  assert.ok(receiver.seen.length <= before + 1);
  receiver.answer([], 200);
  await button("Enable").click();
  await button("Deactivate").waitFor();
  quiet();
});

step("switches everything off, and on again", async () => {
  await page.getByRole("link", { name: "System", exact: true }).click();
  await shown(page);
  const box = page.getByLabel("Webhooks enabled");
  await box.click();
  await button("Cancel").click();
  assert.equal(await box.isChecked(), true);
  await box.click();
  await button("Switch off").click();
  await page.getByText("nothing is sent").waitFor();
  await assertAccessible(page, "switched off");
  const before = receiver.seen.length;
  await bridge.push("lost");
  await new Promise((done) => setTimeout(done, 1000));
  assert.equal(receiver.seen.length, before);
  await page.getByLabel("Webhooks enabled").click();
  await page.getByText("nothing is sent").waitFor({ state: "detached" });
  await bridge.push("heard");
  await arrived(before + 1);
  quiet();
});

step("does without a mouse", async () => {
  await go(page, "#/projects/library");
  await page.evaluate(() => document.activeElement.blur());
  const focused = () => page.evaluate(() => document.activeElement.textContent.trim());
  const tabTo = async (text) => {
    for (let n = 0; n < 30; n++) {
      await page.keyboard.press("Tab");
      if ((await focused()) === text) return;
    }
    assert.fail(`no way to ${text} by keyboard`);
  };
  await tabTo("Deactivate");
  await page.keyboard.press("Enter");
  await button("Enable ci").waitFor();
  assert.equal(await focused(), "Enable");
  await page.keyboard.press("Space");
  await button("Deactivate ci").waitFor();
  quiet();
});

step("deletes it after a question", async () => {
  await page.getByRole("link", { name: "ci", exact: true }).click();
  await shown(page);
  await button("Delete").click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  await button("Delete").click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await page.getByText("No webhook yet.").waitFor();
  assert.deepEqual(await bridge.ask("GET", "/api/v2.0/projects/2/webhook/policies"), []);
  quiet();
});

step("says that something is not there, and signs out", async () => {
  await go(page, "#/projects/unknown");
  await page.getByText("There is no such project.").waitFor();
  await button("Sign out").click();
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  assert.ok(!(await page.content()).includes(TOKEN));
});
