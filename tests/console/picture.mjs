// SPDX-License-Identifier: Apache-2.0
// The picture of the README, taken from a real cluster: picture.mjs FILE.png. `make picture` runs it.
import { closeBrowser, openBrowser, sees, startMembers, until, withPage } from './harness.mjs';

const ZONES = ['eu-1', 'eu-2', 'eu-3'];
const SERVICES = { checkout: 3, payments: 5, inventory: 4, search: 6, shipping: 2 };
const members = await startMembers(3);
const [n1] = members;
for (const [service, count] of Object.entries(SERVICES))
  for (let i = 1; i <= count; i++)
    await n1.register(service, `p${i}`, { host: `10.0.${i}.${10 + service.length}`, port: 8080, zone: ZONES[i % 3], version: i > 2 ? '2.4.1' : '2.4.0', tags: i > 4 ? ['canary'] : [] });
await n1.api('PUT', '/api/v1/services/payments/instances/p5/override', { weight: 0, reason: 'INC-204' });
for (const [name, text] of [['checkout.yaml', 'timeout_ms: 800\nretries: 2\n'], ['payments.yaml', 'provider: acme\nlimit: 500\n'], ['flags.json', '{"new_cart": true}']])
  await n1.config(name, text);
await openBrowser();
try {
  await withPage(n1, async (page, go) => {
    await go('#/services/default/payments');
    await sees(page, 'p5');
    await until('the page is whole', async () => await page.locator('tbody tr').count() >= 5);
    await page.screenshot({ path: process.argv[2] });
  }, { viewport: { width: 1200, height: 540 }, deviceScaleFactor: 1 });
} finally {
  await closeBrowser();
}
