// In another page, of another origin: the npm package `svix-react` as it is published.
import { build } from 'esbuild';
import { fileURLToPath } from 'node:url';
import { T } from '../lib/data.mjs';
import { DESKTOP } from '../lib/browser.mjs';
import { customer, hold } from '../lib/customer.mjs';
import { eventually } from '../lib/stack.mjs';

/** A product's page, bundled: what it shows is in its query. */
async function product(all) {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('../embed/page.jsx', import.meta.url))],
    bundle: true, format: 'esm', write: false, outdir: 'out', jsx: 'automatic', define: { 'process.env.NODE_ENV': '"production"' }, logLevel: 'silent',
  });
  const file = (end) => outputFiles.find(({ path }) => path.endsWith(end)).text;
  all.product.pages.set('/page.js', ['text/javascript', file('.js')]);
  all.product.pages.set('/page.css', ['text/css', file('.css')]);
  all.product.pages.set('/', ['text/html', '<!doctype html><html lang="en"><title>A product</title><link rel="icon" href="data:,"><link rel="stylesheet" href="page.css"><div id="root"></div><script type="module" src="page.js"></script>']);
}

/** Opens the product's page with what it shows. */
async function embedded(all, uid, shows, options = {}) {
  await product(all);
  const { app, visit, endpoint, send } = await customer(all, uid);
  await visit.close();
  const link = await all.stack.linkTo(app.id);
  const outer = all.visitor();
  const query = new URLSearchParams({ ...shows, url: link.url, token: link.token, app: app.id, server: all.stack.url });
  const page = await outer.open(`${all.product.origin}/?${query}`, { allowed: [all.product.origin], ...options });
  return { app, visit: outer, page, frame: page.frameLocator('iframe'), endpoint, send };
}

export default {
  'AppPortal shows it, and the portal says how high it is': async (all) => {
    const { visit, page, frame, endpoint } = await embedded(all, 'embeds', { show: 'portal', fullSize: 'true' });
    await frame.getByText(T('noEndpointsText')).waitFor();
    const heights = () => page.evaluate(() => {
      const frame = document.querySelector('iframe');
      return { is: frame.clientHeight, told: parseFloat(frame.style.height) };
    });
    const fits = () => frame.locator('html').evaluate((html) => html.scrollHeight <= html.clientHeight + 1);
    await eventually('a height', async () => (await heights()).told > 0);
    for (let number = 0; number < 12; number += 1) await endpoint(`embedded-${number}`);
    const before = (await heights()).told;
    await frame.getByRole('link', { name: T('deliveries') }).first().click();
    await frame.getByRole('heading', { name: T('deliveries') }).waitFor();
    await frame.getByRole('link', { name: T('endpoints') }).first().click();
    await frame.getByText('/embedded-11').waitFor();
    await eventually('it grows', async () => (await heights()).told > before && (await fits()));
    // What is around it has no way in, and the frame does not leave.
    hold((await page.evaluate(() => document.querySelector('iframe').contentDocument)) === null, 'the frame is of the same origin');
    await visit.close();
  },
  'AppPortal of a fixed height scrolls within itself': async (all) => {
    const { visit, page, frame, endpoint } = await embedded(all, 'embeds-fixed', { show: 'portal' });
    await frame.getByText(T('noEndpointsText')).waitFor();
    await endpoint('one');
    const height = await page.evaluate(() => document.querySelector('iframe').clientHeight);
    hold(height >= 650, `${height} pixels`);
    await visit.close();
  },
  'AppPortal\'s theme: dark, a colour, a font; the ground is opaque': async (all) => {
    const { visit, frame } = await embedded(all, 'embeds-theme', { show: 'portal', darkMode: 'true', primaryColor: '#0b6e4f', fontFamily: 'Georgia' });
    const add = frame.getByRole('link', { name: T('addEndpoint') }).first();
    await add.waitFor();
    const looks = await add.evaluate((each) => ({ button: getComputedStyle(each).backgroundColor, ground: getComputedStyle(document.body).backgroundColor, root: getComputedStyle(document.documentElement).backgroundColor, font: getComputedStyle(document.body).fontFamily }));
    hold(looks.button === 'rgb(11, 110, 79)', looks);
    const ground = [looks.ground, looks.root].find((one) => one.startsWith('rgb(') && !one.includes(', 0)')) || '';
    const [red] = (ground.match(/\d+/g) || [255]).map(Number);
    hold(red < 60, looks);
    hold(looks.font.includes('Georgia'), looks);
    hold(!(await frame.getByRole('button', { name: T('lightMode') }).count()), 'the mode is not fixed');
    await visit.close();
  },
  'a plain frame: no navigation, no gutters': async (all) => {
    const { visit, page, frame } = await embedded(all, 'embeds-plain', { show: 'frame', add: 'hideNavigation=true&noGutters=true&darkMode=false&lang=de' }, { size: DESKTOP });
    await frame.locator('h1').waitFor();
    hold(!(await frame.getByRole('navigation').count()), 'there is navigation');
    hold((await frame.locator('html').getAttribute('lang')) === 'de', 'another language');
    hold((await page.evaluate(() => document.querySelectorAll('iframe').length)) === 1, 'no frame');
    await visit.close();
  },
  'hooks: endpoints and messages are read and changed through the API': async (all) => {
    const { app, visit, page, send } = await embedded(all, 'hooks', { show: 'hooks', receiver: `${all.receivers.url}/hooks` });
    const endpoints = async () => (await all.stack.api('GET', `/app/${app.id}/endpoint`)).data;
    await page.getByText('endpoints: 0').waitFor();
    await page.getByRole('button', { name: 'fill' }).click();
    await page.getByRole('button', { name: 'create' }).click();
    await page.getByText('endpoints: 1').waitFor();
    const [made] = await endpoints();
    hold(made.url.endsWith('/hooks') && made.description === 'Made by a hook', made);
    await page.getByText(/secret: whsec_/).waitFor();
    await page.getByRole('button', { name: 'update' }).click();
    await eventually('the change', async () => (await endpoints())[0].description === 'Changed by a hook');
    await send({ id: 'inv_h' });
    await eventually('it arrives', () => all.receivers.got.some((one) => one.path === '/hooks'));
    await page.getByRole('button', { name: 'reload' }).click();
    await page.getByText('messages: 1').waitFor();
    await page.getByText('attempts: 1').waitFor();
    await page.getByRole('button', { name: 'headers' }).click();
    await eventually('a header', async () => (await all.stack.api('GET', `/app/${app.id}/endpoint/${made.id}/headers`)).headers['x-hook'] === '1');
    const before = await page.getByText(/secret:/).innerText();
    await page.getByRole('button', { name: 'rotate' }).click();
    await eventually('another secret', async () => {
      const { key } = await all.stack.api('GET', `/app/${app.id}/endpoint/${made.id}/secret`);
      return !before.includes(key) && (await page.getByText(/secret:/).innerText()).includes(key);
    });
    await page.getByRole('button', { name: 'recover' }).click();
    await eventually('a recovery', async () => (await all.stack.api('GET', '/background-task?task=endpoint.recover')).data.some(({ data }) => data.endpointId === made.id));
    await page.getByRole('button', { name: 'delete' }).click();
    await eventually('it is gone', async () => !(await endpoints()).length);
    hold(!(await page.getByText(/error:/).count()), await page.locator('body').innerText());
    await visit.close();
  },
  'a page of an origin that is not allowed gets nothing': async (all) => {
    const { acme } = await (await import('../lib/data.mjs')).world(all.stack, all.receivers);
    const { token } = await all.stack.linkTo(acme.id);
    const visit = all.visitor();
    const page = await visit.open(`${all.receivers.url}/elsewhere`, { allowed: [all.receivers.url] });
    const got = await page.evaluate(([url, bearer]) => fetch(url, { headers: { authorization: `Bearer ${bearer}` } }).then((answer) => answer.text(), (error) => `refused: ${error}`), [`${all.stack.url}/api/v1/app/${acme.id}`, token]);
    hold(got.startsWith('refused'), got);
    visit.problems.splice(0);
    await visit.close();
  },
};
