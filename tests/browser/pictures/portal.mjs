// The pictures of README and docs/PORTAL.md: run.mjs PROGRAM --pictures docs/pictures
import { writeFileSync } from 'node:fs';
import { go, settled } from '../lib/browser.mjs';
import { eventually } from '../lib/stack.mjs';

const SIZE = { width: 1180, height: 720 };
/** A picture in the repository stays small. */
const LENGTH_MAX = 150_000;

/** A customer's application with a day's work in it. */
async function acme({ stack, receivers }) {
  const api = (method, path, body) => stack.api(method, path, body);
  for (const name of ['invoice.paid', 'invoice.voided', 'order.shipped', 'user.created']) await api('PUT', `/event-type/${name}`, { description: name });
  const app = await api('POST', '/app', { name: 'Acme', uid: 'acme' });
  const endpoint = (path, description, more = {}) => api('POST', `/app/${app.id}/endpoint`, { url: `${receivers.url}/${path}`, description, ...more });
  const billing = await endpoint('ok/billing', 'Billing', { filterTypes: ['invoice.paid', 'invoice.voided'] });
  await endpoint('ok/warehouse', 'Warehouse', { filterTypes: ['order.shipped'] });
  const crm = await endpoint('fail', 'CRM');
  await endpoint('ok/analytics', 'Analytics');
  let message;
  for (let nth = 1; nth <= 24; nth += 1) {
    const eventType = ['invoice.paid', 'order.shipped', 'user.created', 'invoice.paid', 'invoice.voided'][nth % 5];
    const body = { eventType, payload: { id: `evt_${1000 + nth}`, customer: 'cus_4QFJ', amount: 1200 * nth, currency: 'EUR' } };
    const sent = await api('POST', `/app/${app.id}/msg`, body);
    if (eventType === 'invoice.paid') message = sent;
  }
  await eventually('what fails is exhausted', async () => (await api('GET', `/app/${app.id}/undelivered`)).data.length >= 24, 60_000);
  return { app, billing, crm, message };
}

export default {
  'the portal, light and dark': async (all) => {
    const { app, message } = await acme(all);
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
};
