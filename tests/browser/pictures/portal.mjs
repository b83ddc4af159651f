// The pictures of README, docs/PORTAL.md and docs/SCREENS.md: run.mjs PROGRAM --pictures docs/pictures portal
import { mkdirSync, writeFileSync } from 'node:fs';
import { go, settled } from '../lib/browser.mjs';
import { OPERATOR, screens } from '../lib/data.mjs';
import { eventually } from '../lib/stack.mjs';

const SIZE = { width: 1180, height: 720 };
/** A picture in the repository stays small. */
const LENGTH_MAX = 150_000;
/** Of screens: their size, all of them together, and the quality that they are kept with. */
const SCREEN = { width: 1000, height: 650 };
const SCREENS_MAX = 1_100_000;
const QUALITY = 0.32;
/** What is to be read on a screen, not in a picture of it. */
const LEFT_OUT = ['no such screen'];
/** Screens that are shown whole. */
const TALL = ['endpoint: settings'];

let made;
/** Made once: both tests look at it. */
const world = (all) => (made ||= acme(all));

/** A customer's application with a day's work in it. */
async function acme({ stack, receivers }) {
  const api = (method, path, body) => stack.api(method, path, body);
  const types = [['invoice.paid', 'Billing', 'A customer paid an invoice'], ['invoice.voided', 'Billing', 'An invoice was cancelled'], ['order.shipped', 'Orders', 'A parcel left the warehouse'], ['user.created', 'Users', 'Somebody signed up']];
  const schema = { type: 'object', required: ['id', 'amount'], properties: { id: { type: 'string', description: 'The event' }, customer: { type: 'string' }, amount: { type: 'integer', description: 'In cents' }, currency: { type: 'string', enum: ['EUR', 'USD'] } }, examples: [{ id: 'evt_1001', customer: 'cus_4QFJ', amount: 1200, currency: 'EUR' }] };
  for (const [name, groupName, description] of types) await api('PUT', `/event-type/${name}`, { description, groupName, schemas: { 1: schema } });
  for (const name of ['Globex', 'Initech', 'Umbrella']) await api('POST', '/app', { name, uid: name.toLowerCase() });
  const app = await api('POST', '/app', { name: 'Acme', uid: 'acme' });
  const endpoint = (path, description, more = {}) => api('POST', `/app/${app.id}/endpoint`, { url: `${receivers.url}/${path}`, description, ...more });
  const polled = await api('POST', `/app/${app.id}/endpoint`, { destination: { kind: 'polling' }, description: 'Archive', filterTypes: ['invoice.paid'], filter: { amount: [{ numeric: ['>', 5000] }] } });
  const ok = await endpoint('ok/billing', 'Billing', { filterTypes: ['invoice.paid', 'invoice.voided'], filter: { currency: ['EUR', { prefix: 'US' }] }, retryPolicy: { attempts: 8, minSeconds: 5, maxSeconds: 3600 } });
  await endpoint('ok/warehouse', 'Warehouse', { filterTypes: ['order.shipped'] });
  const fail = await endpoint('fail', 'CRM');
  await endpoint('ok/analytics', 'Analytics');
  const code = 'function handler(webhook) { return webhook; }';
  for (const [name, description] of [['Chat', 'Tells a channel what was paid'], ['Spreadsheet', 'A row for each invoice']]) await api('POST', '/connector', { name, uid: name.toLowerCase(), kind: 'Custom', description, instructions: 'Make an **incoming webhook** there, and paste its address below.', allowedEventTypes: ['invoice.paid', 'invoice.voided'], transformation: code });
  await api('POST', '/operational-webhook/endpoint', { url: `${receivers.url}/ok/on-call`, description: 'On call', filterTypes: ['endpoint.*'] });
  let message;
  for (let nth = 1; nth <= 24; nth += 1) {
    const eventType = ['invoice.paid', 'order.shipped', 'user.created', 'invoice.paid', 'invoice.voided'][nth % 5];
    const body = { eventType, payload: { id: `evt_${1000 + nth}`, customer: 'cus_4QFJ', amount: 1200 * nth, currency: 'EUR' } };
    const sent = await api('POST', `/app/${app.id}/msg`, body);
    if (eventType === 'invoice.paid') message = sent;
  }
  await eventually('what fails is exhausted', async () => (await api('GET', `/app/${app.id}/undelivered`)).data.length >= 24, 60_000);
  // One of what failed is recovered: a task.
  await api('POST', `/app/${app.id}/endpoint/${fail.id}/recover`, { since: new Date(Date.now() - 3.6e6).toISOString() });
  return { app, message, endpoints: { ok, fail, polled }, messages: [message] };
}

export default {
  'the portal, light and dark': async (all) => {
    const { app, message } = await world(all);
    const { url } = await all.stack.linkTo(app.id);
    const visit = all.visitor();
    const page = await visit.open(url, { size: SIZE });
    await settled(page);
    for (const [name, route] of [['portal', '#/endpoints'], ['message', `#/messages/${message.id}`]]) {
      await go(page, route);
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme });
        await settled(page);
        await page.waitForTimeout(500);
        const picture = await page.screenshot();
        if (picture.length > LENGTH_MAX) throw new Error(`${name}-${colorScheme}.png has ${picture.length} bytes`);
        writeFileSync(`${all.pictures}/${name}-${colorScheme}.png`, picture);
      }
    }
    await visit.close();
  },
  'every screen, light and dark': async (all) => {
    const data = await world(all);
    const visit = all.visitor();
    const page = await visit.open(all.stack.link, { size: SCREEN });
    await settled(page);
    mkdirSync(`${all.pictures}/screens`, { recursive: true });
    const own = Object.entries(screens(data)).map(([name, [route]]) => [name, `#/app/${data.app.id}${route}`]);
    const team = Object.entries(OPERATOR).map(([name, [route]]) => [name, route]);
    const taken = new Map();
    for (const [name, route] of [...own, ...team].filter(([name]) => !LEFT_OUT.includes(name))) {
      await go(page, route);
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme });
        await settled(page);
        taken.set(`${name.replace(/\W+/g, '-')}-${colorScheme}.webp`, await page.screenshot({ fullPage: TALL.includes(name) }));
      }
    }
    // Chromium writes WebP in a page: another one, at the end, as one that is not in front does not draw.
    const encoder = await page.context().newPage();
    let length = 0;
    for (const [name, png] of taken) {
      const text = await encoder.evaluate(async ([text, quality]) => {
        const picture = await createImageBitmap(await (await fetch(`data:image/png;base64,${text}`)).blob());
        const canvas = Object.assign(document.createElement('canvas'), { width: picture.width, height: picture.height });
        canvas.getContext('2d').drawImage(picture, 0, 0);
        return canvas.toDataURL('image/webp', quality).split(',')[1];
      }, [png.toString('base64'), QUALITY]);
      const picture = Buffer.from(text, 'base64');
      length += picture.length;
      writeFileSync(`${all.pictures}/screens/${name}`, picture);
    }
    all.report.push(`pictures of screens: ${length} bytes`);
    if (length > SCREENS_MAX) throw new Error(`the pictures of screens have ${length} bytes`);
    await visit.close();
  },
};
