// Debian's Chromium, watched for whatever a console should not do.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";
import { TOKEN } from "./bridge.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync"];

// Everything has so long, on a slow machine too.
export const PATIENCE = 20_000;

// Playwright makes a new profile for each, and removes it.
export const startBrowser = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: FLAGS });

// A new window. `troubles` has what the page said to the browser's console, what it threw, and what it asked of others. The
// browser itself notes there each answer with an error status; those that a test means to get are not troubles.
export async function openPage(browser, bridge, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 860 }, locale: "en-GB", timezoneId: "UTC", ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const troubles = [];
  const meant = [];
  page.on("console", (message) => {
    const isMeant = meant.some((status) => message.text().includes(`status of ${status}`));
    if (["error", "warning"].includes(message.type()) && !isMeant) troubles.push(message.text());
  });
  page.on("pageerror", (error) => troubles.push(error.stack));
  page.on("request", (request) => request.url().startsWith(bridge.url) || troubles.push(`asked for ${request.url()}`));
  return { page, context, troubles, meant };
}

export async function signIn(page, bridge, hash = "") {
  await page.goto(`${bridge.url}/${hash}`);
  await page.getByLabel("User").fill("admin");
  await page.getByLabel("Password or token").fill(TOKEN);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.getByRole("button", { name: "Sign out" }).waitFor();
  await shown(page);
}

// Goes there without loading the page anew, which would forget who signed in.
export async function go(page, hash) {
  await page.evaluate((to) => { document.getElementById("main").setAttribute("aria-busy", "true"); location.hash = to; }, hash);
  await shown(page);
}

export const shown = (page) => page.locator("main:not([aria-busy]) h1").waitFor();

export async function assertAccessible(page, where) {
  await page.evaluate(`${AXE};undefined`);
  const { violations } = await page.evaluate(() => axe.run(document, { resultTypes: ["violations"] }));
  const told = violations.map((rule) => `${rule.id}: ${rule.nodes.map((node) => node.target).join(", ")}`);
  assert.deepEqual(told, [], where);
  const wider = await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
  assert.ok(wider <= 0, `${where}: ${wider} pixels wider than the window`);
}
