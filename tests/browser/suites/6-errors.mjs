// What goes wrong is said, with what to do about it: a runner of its own that is stopped and started again, that
// gives one-time links, lets one message a second through, and knows where sessions are renewed.
import { createHmac } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { T, begins, world } from '../lib/data.mjs';
import { go, settled } from '../lib/browser.mjs';
import { button, customer, field, hold, operator } from '../lib/customer.mjs';
import { eventually, Stack } from '../lib/stack.mjs';

const alert = (page) => page.getByRole('alert');
const SECRET = 'a secret of the tests, long enough for anybody';

/** A runner for one test, in a folder that is removed after it. `flags` may name the folder as `{}`. */
async function withStack(all, test, ...flags) {
  const folder = mkdtempSync(join(tmpdir(), 'portal-'));
  const start = (...more) => Stack.start(all.program, '--data', join(folder, 'data'), '--jwt-secret', SECRET, ...flags.map((flag) => flag.replace('{}', folder)), ...more);
  let stack;
  try {
    await test(folder, async (...more) => (stack = await start(...more)));
  } finally {
    await stack?.stop();
    rmSync(folder, { recursive: true });
  }
}

export default {
  'the server is gone, and comes back': (all) => withStack(all, async (_, start) => {
    const stack = await start();
    await stack.api('POST', '/app', { name: 'Gone', uid: 'gone' });
    await stack.api('POST', '/app/gone/endpoint', { url: 'http://127.0.0.1:9/gone', disabled: true });
    const visit = all.visitor(stack);
    const page = await visit.open((await stack.linkTo('gone')).url);
    await settled(page);
    await go(page, '#/event-types');
    await go(page, '#/endpoints', '/gone');
    await stack.stop();
    await page.getByRole('link', { name: T('catalogue') }).first().click();
    await alert(page).getByText(T('e_down')).waitFor();
    await alert(page).getByText(T('e_downDo')).waitFor();
    // The port may be in use for a moment.
    await eventually('the runner, again', () => start('--listen', new URL(stack.url).host).catch(() => null));
    await alert(page).getByRole('button', { name: T('retry') }).click();
    await page.getByText(T('noTypes')).waitFor();
    await visit.close();
  }),
  '401: the session has ended': async (all) => {
    const { visit, page, app } = await customer(all, 'ends', { statuses: [401] });
    await all.stack.api('POST', `/auth/app/${app.id}/expire-all`, {});
    await page.getByRole('link', { name: T('deliveries') }).first().click();
    await page.getByRole('heading', { name: T('endedTitle') }).waitFor();
    await page.getByText(T('endedText')).waitFor();
    hold((await page.evaluate(() => JSON.stringify({ ...sessionStorage }))) === '{}', 'the token is kept');
    await visit.close();
  },
  '401: a customer goes to where sessions are renewed; a one-time link works once': (all) => withStack(all, async (folder, start) => {
    all.product.pages.set('/renew', ['text/html', '<h1>Signed in again</h1>']);
    const template = readFileSync(new URL('../../../template.yaml', import.meta.url), 'utf8');
    const changed = template.replace(/(\n {2}PortalRefreshUrl:\n(?: {4}.*\n){2} {4}Default: )""/, `$1"${all.product.origin}/renew?from=portal"`);
    hold(changed !== template, 'the template has another parameter');
    writeFileSync(join(folder, 'template.yaml'), changed);
    const stack = await start();
    const app = await stack.api('POST', '/app', { name: 'Renews', uid: 'renews' });
    const { url } = await stack.linkTo(app.id);
    hold(JSON.parse(Buffer.from(url.split('#key=')[1], 'base64')).oneTimeToken, url);
    const visit = all.visitor(stack);
    const page = await visit.open(url, { statuses: [401], allowed: [all.product.origin] });
    await settled(page);
    await page.getByText(T('noEndpointsText')).waitFor();
    const token = await page.evaluate(() => JSON.parse(Object.values(sessionStorage)[0]).token);
    await stack.api('POST', `/auth/app/${app.id}/expire-all`, {});
    hold((await stack.ask('GET', '/auth/whoami', undefined, token)).status === 401, 'it has not ended');
    await page.getByRole('link', { name: T('deliveries') }).first().click();
    await page.getByRole('heading', { name: 'Signed in again' }).waitFor();
    const at = new URL(page.url());
    hold(at.searchParams.get('app') === app.id && at.searchParams.get('from') === 'portal', page.url());
    await visit.close();
    // The same link again: it was used, and nobody knows for which application.
    const again = all.visitor(stack);
    const other = await again.open(url, { statuses: [401], allowed: [all.product.origin] });
    await other.getByRole('heading', { name: 'Signed in again' }).waitFor();
    await again.close();
  }, '--template', '{}/template.yaml', '--portal-one-time-links'),
  'an expired link says so, a broken one too': (all) => withStack(all, async (_, start) => {
    const stack = await start();
    const app = await stack.api('POST', '/app', { name: 'Old', uid: 'old' });
    const { token } = await stack.linkTo(app.id);
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const claims = JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
    const signed = (exp) => {
      const text = `${token.split('.')[0]}.${part({ ...claims, exp })}`;
      return `${text}.${createHmac('sha256', SECRET).update(text).digest('base64url')}`;
    };
    const now = Math.floor(Date.now() / 1000);
    // That the test signs as the runner does.
    hold((await stack.ask('GET', '/auth/whoami', undefined, signed(now + 600))).status === 200, 'the test cannot sign');
    const link = (of) => `${stack.url}/login#key=${Buffer.from(JSON.stringify({ appId: app.id, token: of, region: 'self', serverUrl: stack.url })).toString('base64')}`;
    for (const [url, text] of [[link(signed(now - 600)), 'endedTitle'], [link('no token'), 'endedTitle'], [`${stack.url}/login#key=%%%`, 'brokenTitle'], [`${stack.url}/login#key=bm90IGpzb24`, 'brokenTitle'], [`${stack.url}/login#key=`, 'brokenTitle'], [`${stack.url}/login`, 'signInTitle']]) {
      const visit = all.visitor(stack);
      const page = await visit.open(url, { statuses: [401] });
      await page.getByRole('heading', { name: T(text) }).waitFor();
      hold(!page.url().includes('key='), page.url());
      await visit.close();
    }
  }),
  'a token that is mistyped is refused beside its field, and another one is taken': async (all) => {
    const visit = all.visitor();
    const page = await visit.open(`${all.stack.url}/login`, { statuses: [401] });
    const token = field('token', page);
    await token.fill(`${all.stack.token}x`);
    await button('signIn', page).click();
    await page.getByText(T('tokenBad')).waitFor();
    await token.fill(all.stack.token);
    await button('signIn', page).click();
    await settled(page);
    await page.getByRole('heading', { name: T('applications'), exact: true }).waitFor();
    await visit.close();
  },
  '403: the server says why, and one may try again': async (all) => {
    const { visit, page, app, endpoint } = await customer(all, 'forbidden', { statuses: [403] });
    const { id } = await endpoint('forbidden');
    // What the page would not offer: requests go out with the token of a link that allows less.
    const { token } = await all.stack.linkTo(app.id, { capabilities: ['ViewBase'] });
    await page.route('**/secret', (route) => route.continue({ headers: { ...route.request().headers(), authorization: `Bearer ${token}` } }));
    await go(page, `#/endpoints/${id}/secret`);
    await button('reveal', page).click();
    const said = page.getByRole('status').filter({ hasText: T('e_403') });
    await said.waitFor();
    hold((await said.innerText()).includes('ViewEndpointSecret'), await said.innerText());
    await page.unroute('**/secret');
    await button('reveal', page).click();
    await button('hide', page).waitFor();
    await visit.close();
  },
  '404: a message, an endpoint, an application that are not there': async (all) => {
    const { visit, page } = await operator(all, { statuses: [404] });
    const { acme } = await world(all.stack, all.receivers);
    for (const route of [`/app/${acme.id}/messages/msg_3Mlp6U2YFEAI0oePYACa0oTeM6I`, `/app/${acme.id}/endpoints/nobody`, '/app/nobody/endpoints', '/types/no.such.type']) {
      await go(page, '#/token', T('whoAmI'));
      await alert(page).first().waitFor({ state: 'detached' });
      await go(page, `#${route}`);
      await alert(page).getByText(T('e_404')).first().waitFor();
      await alert(page).getByRole('button', { name: T('retry') }).first().waitFor();
    }
    await visit.close();
  },
  '409: what is taken is said, and another one is taken': async (all) => {
    const { visit, page } = await operator(all, { statuses: [409] });
    await go(page, '#/apps', 'Acme');
    await button('newApplication', page).click();
    await field('name', page).fill('Second');
    await field('uid', page).fill('acme');
    await button('create', page).click();
    await page.getByText(T('e_409')).waitFor();
    await field('uid', page).fill('second');
    await button('create', page).click();
    await page.getByText(T('noEndpointsText')).waitFor();
    await visit.close();
  },
  '422: the server\'s reason is beside its field': async (all) => {
    const { visit, page } = await customer(all, 'reasons', { statuses: [422] });
    await page.getByRole('link', { name: T('addEndpoint') }).first().click();
    await field('url', page).fill(`${all.receivers.url}/x`);
    await page.getByText(T('advanced'), { exact: true }).click();
    await field('ownSecret', page).fill('whsec_short');
    await button('addEndpoint', page).click();
    await page.locator('.field', { has: field('ownSecret', page) }).locator('.why').waitFor();
    hold((await field('ownSecret', page).getAttribute('aria-invalid')) === 'true', 'it is not marked');
    await field('ownSecret', page).fill('');
    await button('addEndpoint', page).click();
    await page.getByRole('heading', { name: T('testSend') }).waitFor();
    await visit.close();
  },
  '429: how long to wait is said': (all) => withStack(all, async (_, start) => {
    const stack = await start();
    const app = await stack.api('POST', '/app', { name: 'Fast', uid: 'fast' });
    const { id } = await stack.api('POST', '/app/fast/endpoint', { url: `${all.receivers.url}/fast` });
    const visit = all.visitor(stack);
    const page = await visit.open(stack.link, { statuses: [429] });
    await settled(page);
    await go(page, `#/app/${app.id}/endpoints/${id}/test`);
    const said = page.getByText(T('e_429')).first();
    let told = false;
    // Others post as well, so that one of the page's is too many in its second.
    const flood = Array.from({ length: 3 }, async () => {
      while (!told) await stack.ask('POST', '/app/fast/msg', { eventType: 'a.b', payload: {} });
    });
    try {
      await eventually('a refusal', async () => {
        await button('sendTest', page).click();
        return said.waitFor({ timeout: 3000 }).then(() => true, () => false);
      });
      await page.getByText(begins('e_429after')).first().waitFor();
    } finally {
      told = true;
      await Promise.all(flood);
    }
    await eventually('one can try again', () => button('sendTest', page).isEnabled());
    await visit.close();
  }, '--message-quota', '1'),
  'an expunged payload': async (all) => {
    const { visit, page, at, endpoint, send, attempts } = await customer(all, 'expunged');
    await endpoint('expunged');
    const message = await send({ id: 'inv_e' });
    await eventually('an attempt', async () => (await attempts(message.id)).length);
    await all.stack.api('DELETE', `${at}/msg/${message.id}/content`);
    await go(page, `#/messages/${message.id}`, T('payloadGone'));
    await visit.close();
  },
};
