// SPDX-License-Identifier: Apache-2.0
// How long a browser takes to load the console: load.mjs LOADS. With each load a new profile, so nothing is cached. One
// row for each version of HTTP, as medians in ms: the load event, the first data of the page (the list of members), the files and bytes.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endBrowser, launchBrowser, row, startMembers, withPage } from './harness.mjs';

const loads = Number(process.argv[2] ?? 10);
const tls = mkdtempSync(join(tmpdir(), 'cairn-load-'));
process.on('exit', () => rmSync(tls, { recursive: true, force: true }));
execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', join(tls, 'key'), '-out', join(tls, 'crt'), '-days', '2', '-subj', '/CN=server', '-addext', 'subjectAltName=IP:127.0.0.1'], { stdio: 'ignore' });
const port = Number(process.env.BASE_PORT), secure = port + 90;
const [member] = await startMembers(1, ['--listen-client-urls', `http://127.0.0.1:${port},https://127.0.0.1:${secure}`, '--cert-file', join(tls, 'crt'), '--key-file', join(tls, 'key')]);
const median = list => Math.round(list.sort((a, b) => a - b)[list.length >> 1]);

console.log('| the console in a browser | load event ms | first data ms | files | KiB |\n|---|---|---|---|---|');
for (const [name, url, flags, protocol] of [
  ['HTTP/1.1, cleartext', member.url, [], 'http/1.1'],
  ['HTTP/1.1, TLS', `https://127.0.0.1:${secure}`, ['--disable-http2'], 'http/1.1'],
  ['HTTP/2, TLS', `https://127.0.0.1:${secure}`, [], 'h2'],
]) {
  await launchBrowser(...flags);
  const seen = [];
  for (let i = 0; i < loads; i++) {
    await withPage({ url }, async (page, go) => {
      const begin = Date.now();
      await go();
      await row(page, 'default').waitFor();
      const data = Date.now() - begin;
      seen.push(await page.evaluate(data => {
        const [page_] = performance.getEntriesByType('navigation');
        const files = [page_, ...performance.getEntriesByType('resource').filter(r => r.name.includes('/ui/') && r.initiatorType !== 'fetch')];
        return { data, load: page_.loadEventEnd, files: files.length, bytes: files.reduce((sum, f) => sum + f.transferSize, 0), protocols: [...new Set(files.map(f => f.nextHopProtocol).filter(p => p))].join() };
      }, data));
    }, { ignoreHTTPSErrors: true });
  }
  const other = seen.find(s => s.protocols !== protocol);
  if (other) throw new Error(`${name}: the browser speaks ${other.protocols}`);
  console.log(`| ${name} | ${median(seen.map(s => s.load))} | ${median(seen.map(s => s.data))} | ${median(seen.map(s => s.files))} | ${median(seen.map(s => s.bytes / 1024))} |`);
  await endBrowser();
}
process.exit(0);
