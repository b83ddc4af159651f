// Every action, with its effect checked through the API.
import { T, world } from '../lib/data.mjs';
import { go, settled } from '../lib/browser.mjs';
import { eventually } from '../lib/stack.mjs';

/** A customer's page, and an application of its own for what is changed. */
async function customer({ stack, receivers, visitor }, uid, options) {
  const app = await stack.api('POST', '/app', { name: uid, uid });
  const visit = visitor();
  const page = await visit.open((await stack.linkTo(app.id, options)).url);
  await settled(page);
  const endpoint = (path, more = {}) => stack.api('POST', `/app/${app.id}/endpoint`, { url: `${receivers.url}/${path}`, ...more });
  return { app, visit, page, at: `/app/${app.id}`, endpoint };
}
const button = (page, key, within = page) => within.getByRole('button', { name: T(key), exact: true });

export default {
  'an endpoint is added, with types, and tested at once': async (all) => {
    await world(all.stack, all.receivers);
    const { visit, page, at } = await customer(all, 'adds');
    await page.getByRole('link', { name: T('addEndpoint') }).first().click();
    await page.getByLabel(T('url'), { exact: true }).fill('not a url');
    await page.getByText(T('urlBad')).waitFor();
    await page.getByLabel(T('url'), { exact: true }).fill(`${all.receivers.url}/added`);
    await page.getByRole('checkbox', { name: 'Billing', exact: true }).check();
    await button(page, 'addEndpoint').click();
    await button(page, 'sendTest').click();
    await page.getByText('thank you').waitFor();
    const { data } = await all.stack.api('GET', `${at}/endpoint`);
    const types = data[0].eventTypes?.sort().join();
    if (data.length !== 1 || types !== 'invoice.paid,invoice.voided') throw new Error(JSON.stringify(data));
    if (!all.receivers.got.some((one) => one.path === '/added')) throw new Error('nothing arrived');
    await visit.close();
  },
  'the server\'s reason is shown beside its field': async (all) => {
    const { visit, page } = await customer(all, 'reasons');
    await page.getByRole('link', { name: T('addEndpoint') }).first().click();
    await page.getByLabel(T('url'), { exact: true }).fill(`${all.receivers.url}/x`);
    await page.getByText(T('advanced'), { exact: true }).click();
    await page.getByLabel(T('ownSecret'), { exact: true }).fill('whsec_short');
    await button(page, 'addEndpoint').click();
    await page.locator('.why').first().waitFor();
    await visit.close();
  },
  'an endpoint is changed, disabled, enabled and deleted': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'changes');
    const { id } = await endpoint('changed');
    const now = () => all.stack.api('GET', `${at}/endpoint/${id}`);
    await go(page, `#/endpoints/${id}/settings`);
    await page.getByLabel(T('description'), { exact: true }).fill('Changed by hand');
    await button(page, 'save').first().click();
    await eventually('the description', async () => (await now()).description === 'Changed by hand');
    await button(page, 'disable').click();
    await eventually('it is disabled', async () => (await now()).disabled);
    await button(page, 'enable').click();
    await eventually('it is enabled', async () => !(await now()).disabled);
    await button(page, 'delete').click();
    await button(page, 'delete', page.getByRole('dialog')).click();
    await eventually('it is gone', async () => (await all.stack.ask('GET', `${at}/endpoint/${id}`)).status === 404);
    await visit.close();
  },
  'headers are set, and known secrets stay masked': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'headers');
    const { id } = await endpoint('headers', { headers: { authorization: 'Bearer hidden', 'x-one': '1' } });
    await go(page, `#/endpoints/${id}/settings`);
    const card = page.locator('.card', { has: page.getByRole('heading', { name: T('headers') }) });
    await button(page, 'add', card).click();
    await card.getByLabel(T('name'), { exact: true }).last().fill('x-two');
    await card.getByLabel(T('value'), { exact: true }).last().fill('2');
    await button(page, 'save', card).click();
    await eventually('the header', async () => (await all.stack.api('GET', `${at}/endpoint/${id}/headers`)).headers['x-two'] === '2');
    if ((await page.content()).includes('Bearer hidden')) throw new Error('the secret header is shown');
    await visit.close();
  },
  'the secret is revealed and rotated': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'secrets');
    const { id } = await endpoint('secret');
    const { key } = await all.stack.api('GET', `${at}/endpoint/${id}/secret`);
    await go(page, `#/endpoints/${id}/secret`);
    await button(page, 'reveal').click();
    await eventually('the secret', async () => (await page.getByLabel(T('secret'), { exact: true }).inputValue()) === key);
    await button(page, 'rotate').first().click();
    await button(page, 'rotate', page.getByRole('dialog')).click();
    await page.getByText(T('keyNow')).waitFor();
    const fresh = await all.stack.api('GET', `${at}/endpoint/${id}/secret`);
    if (fresh.key === key) throw new Error('it is the same secret');
    await visit.close();
  },
  'a message is looked at and resent': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'resends');
    const { id } = await endpoint('resent');
    const message = await all.stack.api('POST', `${at}/msg`, { eventType: 'invoice.paid', payload: { id: 'inv_7' } });
    const attempts = async () => (await all.stack.api('GET', `${at}/msg/${message.id}/endpoint/${id}/attempt`)).data.length;
    await eventually('an attempt', async () => (await attempts()) === 1);
    await go(page, '#/deliveries');
    await page.getByRole('link', { name: 'invoice.paid' }).first().click();
    await page.getByText('inv_7').first().waitFor();
    await button(page, 'resend').first().click();
    await eventually('a second attempt', async () => (await attempts()) === 2);
    await visit.close();
  },
  'recovery: a count, a start, and its effect': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'recovers');
    all.receivers.broken.add('recovers');
    const { id } = await endpoint('recovers');
    await go(page, `#/endpoints/${id}/recovery`);
    await page.getByRole('button', { name: T('do_bulk-replay'), exact: true }).click();
    const message = await all.stack.api('POST', `${at}/msg`, { eventType: 'invoice.paid', payload: { id: 'inv_8' } });
    await eventually('a failed attempt', async () => (await all.stack.api('GET', `${at}/attempt/msg/${message.id}`)).data.length > 0);
    all.receivers.broken.delete('recovers');
    await button(page, 'countFirst').click();
    await button(page, 'startNow').click();
    await eventually('the delivery', async () => (await all.stack.api('GET', `${at}/attempt/msg/${message.id}`)).data.some((one) => one.status === 0 && one.triggerType === 1));
    await visit.close();
  },
  'live: attempts show as they come, and pause holds them': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'live');
    await endpoint('live');
    await go(page, '#/live');
    await all.stack.api('POST', `${at}/msg`, { eventType: 'live.one', payload: {} });
    await page.getByText('live.one').waitFor();
    await button(page, 'pause').click();
    await all.stack.api('POST', `${at}/msg`, { eventType: 'live.two', payload: {} });
    await page.waitForTimeout(2500);
    if (await page.getByText('live.two').count()) throw new Error('it was not paused');
    await button(page, 'resume').click();
    await page.getByText('live.two').waitFor();
    await visit.close();
  },
  'what a filter shows is in the address, and survives reload and Back': async (all) => {
    const { acme, endpoints } = await world(all.stack, all.receivers);
    const visit = all.visitor();
    const page = await visit.open((await all.stack.linkTo(acme.id)).url);
    await settled(page);
    await go(page, `#/endpoints/${endpoints.fail.id}/deliveries`);
    await go(page, '#/endpoints?state=failing&q=fail');
    if ((await page.getByRole('searchbox').first().inputValue()) !== 'fail') throw new Error('the filter is not shown');
    await page.reload();
    await settled(page);
    if (!page.url().endsWith('state=failing&q=fail')) throw new Error(page.url());
    await page.goBack();
    await page.getByRole('link', { name: T('tab_deliveries') }).last().waitFor();
    await visit.close();
  },
  'operator: an application, a link with capabilities, the end of sessions': async (all) => {
    await world(all.stack, all.receivers);
    const visit = all.visitor();
    const page = await visit.open(`${all.stack.link}`);
    await settled(page);
    await go(page, '#/apps');
    await button(page, 'newApplication').click();
    await page.getByLabel(T('name'), { exact: true }).fill('Made by hand');
    await page.getByLabel(T('uid'), { exact: true }).fill('by-hand');
    await button(page, 'create').click();
    const app = await eventually('the application', async () => (await all.stack.ask('GET', '/app/by-hand')).value?.id);
    await page.waitForURL(`**${app}**`);
    await settled(page);
    await button(page, 'portalLink').click();
    await button(page, 'makeLink').click();
    const link = await page.getByRole('dialog').getByRole('link', { name: T('open') }).getAttribute('href');
    if (!link.includes('/login#key=')) throw new Error(link);
    await visit.close();
  },
  'operator: an event type is made, changed and archived': async (all) => {
    await world(all.stack, all.receivers);
    const visit = all.visitor();
    const page = await visit.open(all.stack.link);
    await settled(page);
    await go(page, '#/types');
    await button(page, 'newType').click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel(T('name'), { exact: true }).fill('made.by.hand');
    await dialog.getByLabel(T('description'), { exact: true }).fill('First');
    await dialog.getByLabel(T('schemas'), { exact: true }).fill('{"type": "object", "properties": {"id": {"type": "string"}}}');
    await button(page, 'save', dialog).click();
    await eventually('the type', async () => (await all.stack.ask('GET', '/event-type/made.by.hand')).value?.schemas?.['1']);
    await go(page, '#/types/made.by.hand');
    await button(page, 'archive').click();
    await button(page, 'archive', page.getByRole('dialog')).click();
    await eventually('it is archived', async () => (await all.stack.ask('GET', '/event-type/made.by.hand')).value?.archived);
    await visit.close();
  },
};
