// Ordered endpoints: made, seen while a key waits, paused, resumed, tried now, and a message that is skipped.
import { T } from '../lib/data.mjs';
import { go, settled, violations } from '../lib/browser.mjs';
import { button, card, customer, dialog, field, hold, rows } from '../lib/customer.mjs';
import { eventually } from '../lib/stack.mjs';

export default {
  'an endpoint is made ordered, waits, is paused and resumed, and goes on once a message is skipped': async (all) => {
    const { visit, page, at, send } = await customer(all, 'ordered', { statuses: [422] });
    await go(page, '#/endpoints/new');
    await field('url', page).fill(`${all.receivers.url}/ordered`);
    await page.getByText(T('advanced'), { exact: true }).click();
    await page.getByRole('checkbox', { name: T('fifo') }).check();
    await field('orderKey', page).fill('customer');
    await button('addEndpoint', page).click();
    await page.locator('.field', { has: field('orderKey', page) }).locator('.why').waitFor();
    await field('orderKey', page).fill('/customer');
    await field('batchSize', page).fill('10');
    await button('addEndpoint', page).click();
    await page.waitForURL('**/test');
    const { data: [made] } = await all.stack.api('GET', `${at}/endpoint`);
    hold(made.fifo && made.fifoKey === '/customer' && made.batchSize === 10, made);
    all.receivers.broken.add('ordered');
    const first = await send({ id: 'inv_1', customer: 'a' });
    await send({ id: 'inv_2', customer: 'a' });
    const order = () => all.stack.api('GET', `${at}/endpoint/${made.id}/order`);
    await eventually('a key waits', async () => (await order()).waitingKeys === 1);
    await go(page, `#/endpoints/${made.id}/settings`);
    const own = card(page, 'order');
    await own.getByText(first.id).waitFor();
    hold(!(await violations(page)).length, await violations(page));
    await button('pause', own).click();
    await eventually('it is paused', async () => (await order()).status === 'paused');
    await button('resume', own).click();
    await eventually('it goes on', async () => (await order()).status !== 'paused');
    await settled(page);
    await button('skipMessage', own).click();
    // Before it is skipped: the next one is sent at once then, and on a busy machine its second failure would have it wait for five minutes.
    all.receivers.broken.delete('ordered');
    await button('skipMessage', dialog(page)).click();
    await eventually('the next one arrives', () => all.receivers.got.some(({ path, body }) => path === '/ordered' && body.includes('inv_2')) && !all.receivers.broken.has('ordered'));
    await eventually('nothing waits', async () => !(await order()).waitingKeys);
    await settled(page);
    await rows(own.locator('.list li'), 0);
    await visit.close();
  },
  'a message that is skipped while the endpoint is paused: it is said that it goes on later': async (all) => {
    const { visit, page, at, endpoint, send } = await customer(all, 'skips-paused');
    all.receivers.broken.add('skips-paused');
    const { id } = await endpoint('skips-paused', { fifo: true });
    const message = await send({ id: 'inv_1' });
    const order = () => all.stack.api('GET', `${at}/endpoint/${id}/order`);
    await eventually('it waits', async () => (await order()).waitingKeys === 1);
    await all.stack.api('POST', `${at}/endpoint/${id}/order/pause`);
    await go(page, `#/endpoints/${id}/settings`);
    const own = card(page, 'order');
    await own.getByText(message.id).waitFor();
    await button('skipMessage', own).click();
    await button('skipMessage', dialog(page)).click();
    await page.getByRole('status').getByText(T('skippedPaused')).waitFor();
    await own.getByText(T('skipped'), { exact: true }).waitFor();
    hold(!(await button('skipMessage', own).count()), 'it is offered again');
    all.receivers.broken.delete('skips-paused');
    await button('resume', own).click();
    await rows(own.locator('.list li'), 0);
    await visit.close();
  },
};
