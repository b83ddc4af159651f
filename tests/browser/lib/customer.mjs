// A customer with an application of their own, for tests that change something.
import { T, world } from './data.mjs';
import { settled } from './browser.mjs';
import { eventually } from './stack.mjs';

/** Makes the application `uid` and opens the portal for it. `link`: as `app-portal-access` takes it. */
export async function customer({ stack, receivers, visitor }, uid, { link = {}, ...options } = {}) {
  await world(stack, receivers);
  const app = await stack.api('POST', '/app', { name: uid, uid });
  const visit = visitor();
  const at = `/app/${app.id}`;
  const page = await visit.open((await stack.linkTo(app.id, link)).url, options);
  await settled(page);
  return {
    app, at, visit, page,
    endpoint: (path, more = {}) => stack.api('POST', `${at}/endpoint`, { url: `${receivers.url}/${path}`, ...more }),
    send: (payload, more = {}) => stack.api('POST', `${at}/msg`, { eventType: 'invoice.paid', payload, ...more }),
    attempts: async (message) => (await stack.api('GET', `${at}/attempt/msg/${message}`)).data,
    /** Waits until a message's retries are over everywhere: that follows its last attempt. */
    exhausted: (message, failed = 1) => eventually('it is exhausted', async () => (await stack.api('GET', `${at}/msg/${message}/endpoint`)).data.filter((one) => one.status === 2).length === failed),
  };
}

/** The portal as the organisation's team has it. */
export async function operator({ stack, receivers, visitor }, options) {
  const data = await world(stack, receivers);
  const visit = visitor();
  const page = await visit.open(stack.link, { whole: true, ...options });
  await settled(page);
  return { data, visit, page };
}

export const button = (key, within) => within.getByRole('button', { name: T(key), exact: true });
export const field = (key, within) => within.getByLabel(T(key), { exact: true });
/** A card, by its heading. */
export const card = (page, key) => page.locator('.card', { has: page.getByRole('heading', { name: T(key), exact: true }) });
export const dialog = (page) => page.getByRole('dialog');
/** Waits until a list has so many rows. */
export async function rows(locator, count) {
  await eventually(`${count} rows`, async () => (await locator.count()) === count);
}
/** What a test is about, wrong. */
export function hold(is, why) {
  if (!is) throw new Error(typeof why === 'string' ? why : JSON.stringify(why));
}
