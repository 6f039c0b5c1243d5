// SPDX-License-Identifier: Apache-2.0
// Real servers and a real browser for the console's tests. Every wait ends after LIMIT_MS. An error in a page's
// console fails its test, unless the test expects it.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { openSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';

export const LIMIT_MS = Number(process.env.LIMIT_MS ?? 60000);
const work = mkdtempSync(join(tmpdir(), 'cairn-console-'));
const children = new Set();
let base = Number(process.env.BASE_PORT);
let browser;

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(work, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1)); // the servers go too

export const until = async (what, condition) => {
  const end = Date.now() + LIMIT_MS;
  for (;;) {
    const found = await condition();
    if (found) return found;
    assert.ok(Date.now() < end, `waited in vain until ${what}`);
    await new Promise(done => setTimeout(done, 50));
  }
};

// --- servers ------------------------------------------------------------------------------------------------

class Member {
  constructor(name, port, cluster, flags) {
    Object.assign(this, { name, port, url: `http://127.0.0.1:${port}`, log: join(work, `${name}.log`) });
    const peer = `http://127.0.0.1:${port + 1}`;
    this.arguments = ['--name', name, '--data-dir', join(work, `${name}-${port}`), '--listen-client-urls', this.url, '--advertise-client-urls', this.url, '--listen-peer-urls', peer,
      '--initial-advertise-peer-urls', peer, '--initial-cluster', cluster, ...flags];
  }
  start() {
    const out = openSync(this.log, 'a');
    this.process = spawn(process.env.CAIRND, this.arguments, { stdio: ['ignore', out, out] });
    children.add(this.process);
    this.ended = new Promise(done => this.process.on('exit', done));
  }
  ready = () => until(`${this.name} serves`, () => {
    assert.equal(this.process.exitCode, null, `${this.name} ended: ${readFileSync(this.log, 'utf8').slice(-2000)}`);
    return fetch(`${this.url}/health`).then(r => r.ok, () => false);
  });
  async stop(signal = 'SIGKILL') {
    this.process.kill(signal);
    await this.ended;
    children.delete(this.process);
  }
  api = async (method, path, body, status = 200) => {
    const headers = typeof body === 'object' ? { 'content-type': 'application/json' } : {};
    const r = await fetch(this.url + path, { method, headers, body: typeof body === 'object' ? JSON.stringify(body) : body });
    const text = await r.text();
    assert.equal(r.status, status, `${method} ${path}: ${text}`);
    return r.headers.get('content-type')?.includes('json') ? JSON.parse(text) : text;
  };
  put = (key, value) => this.api('POST', '/v3/kv/put', { key: Buffer.from(key).toString('base64'), value: Buffer.from(value).toString('base64') });
  register = async (service, id, more = {}, query = '') => {
    this.session ??= (await this.api('POST', '/api/v1/sessions', { ttl: 3600 })).session;
    return this.api('PUT', `/api/v1/services/${encodeURIComponent(service)}/instances/${encodeURIComponent(id)}?session=${this.session}${query}`, { host: '10.0.0.5', port: 8080, ...more });
  };
  config = (name, content, query = '') => this.api('PUT', `/api/v1/configs/${encodeURIComponent(name)}${query}`, content);
}

export async function startMembers(count, flags = []) {
  const name = count > 1 ? 'n' : 'default';
  const ports = Array.from({ length: count }, () => (base += 2) - 2);
  const cluster = ports.map((port, i) => `${name}${count > 1 ? i + 1 : ''}=http://127.0.0.1:${port + 1}`).join();
  const members = ports.map((port, i) => new Member(`${name}${count > 1 ? i + 1 : ''}`, port, cluster, flags));
  for (const m of members) m.start();
  for (const m of members) await m.ready();
  return members;
}

// --- pages ---------------------------------------------------------------------------------------------------

export async function launchBrowser(...flags) {
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: [...flags, '--host-resolver-rules=MAP rebind.example 127.0.0.1', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--disable-background-networking', '--no-first-run'] });
}
export const openBrowser = () => launchBrowser();
export const endBrowser = async () => browser?.close();
// And the servers: node waits for its children.
export async function closeBrowser() {
  await endBrowser();
  for (const child of children) child.kill('SIGKILL');
}

// run(page, go) with a page of its own; go(hash) opens the console there. expected: patterns of console errors that belong to it.
export async function withPage(member, run, { expected = [], ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: 'reduce', ...options });
  context.setDefaultTimeout(LIMIT_MS);
  const page = await context.newPage();
  const errors = [];
  page.on('console', m => m.type() === 'error' && errors.push(`${m.text()} ${m.location().url}`));
  page.on('pageerror', e => errors.push(e.stack));
  page.on('dialog', d => { errors.push(`a dialog: ${d.message()}`); d.dismiss(); });
  try {
    await run(page, hash => page.goto(`${member.url}/ui/${hash ?? ''}`));
  } catch (e) {
    const text = await page.locator('body').innerText({ timeout: 2000 }).catch(() => '');
    e.message += `\n--- the page at ${page.url()} says:\n${text.slice(0, 1500)}\n--- errors: ${errors.join('\n')}`;
    throw e;
  } finally {
    await context.close();
  }
  assert.deepEqual(errors.filter(e => !expected.some(x => x.test(e))), []);
}

export const sees = (page, text, options) => page.getByText(text, options).first().waitFor();
export const row = (page, text) => page.locator('tbody tr', { hasText: text }).first();
export const press = (page, name) => page.getByRole('button', { name, exact: typeof name === 'string' }).click();
export const inDialog = page => page.locator('dialog[open]');

// --- axe -------------------------------------------------------------------------------------------------------

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export async function assertAccessible(page, where) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa'] }));
  assert.deepEqual(violations.map(v => `${v.id}: ${v.nodes.slice(0, 3).map(n => `${n.html} ${n.any[0]?.message ?? ''}`).join(' | ')}`), [], where);
}
