// Services that the organisation has prepared: chosen when an endpoint is made, which then has their code.
import { T } from '../lib/data.mjs';
import { go, settled, violations } from '../lib/browser.mjs';
import { button, customer, field, hold } from '../lib/customer.mjs';
import { eventually } from '../lib/stack.mjs';

const CODE = 'function handler(webhook) { webhook.payload = { text: `paid: ${webhook.payload.id}` }; return webhook; }';
const CHAT = { name: 'Chat', uid: 'chat', kind: 'Custom', description: 'Tells a channel what was paid', instructions: '# How\n\nMake an **incoming** webhook, see [the manual](https://chat.example.com/manual), then paste `https://…`.\n<script>document.title = 1</script>', allowedEventTypes: ['invoice.paid', 'invoice.voided'], transformation: CODE };

// One organisation for all: who has connectors is asked by what it answers.
export const alone = true;

export default {
  'a connector limits the event types, and its code changes what arrives': async (all) => {
    const connector = await all.stack.api('POST', '/connector', CHAT);
    try {
      const { visit, page, at, send } = await customer(all, 'connected');
      await go(page, '#/endpoints/new');
      await page.getByRole('checkbox', { name: 'user.created' }).check();
      const pick = page.getByRole('button', { name: 'Chat' });
      await pick.click();
      hold((await pick.getAttribute('aria-pressed')) === 'true', 'it is not chosen');
      // What it may not be sent is not offered, nor another kind of place; its instructions are text.
      await page.getByText(T('noneIsThese')).waitFor();
      hold(!(await page.getByRole('checkbox', { name: 'user.created' }).count()), 'another type is offered');
      hold(!(await button('kind_polling', page).count()), 'another kind is offered');
      hold((await page.getByRole('link', { name: 'the manual' }).getAttribute('href')) === 'https://chat.example.com/manual', 'no link');
      await page.getByText('<script>document.title = 1</script>').waitFor();
      hold(!(await violations(page)).length, await violations(page));
      await field('url', page).fill(`${all.receivers.url}/connected`);
      await button('addEndpoint', page).click();
      await page.waitForURL('**/test');
      const { data: [made] } = await all.stack.api('GET', `${at}/endpoint`);
      hold(made.eventTypes.join() === 'invoice.paid,invoice.voided' && !made.disabled, made);
      hold((await all.stack.api('GET', `${at}/endpoint/${made.id}/transformation`)).code === CODE, 'other code');
      const message = await send({ id: 'inv_1' });
      await eventually('the delivery', () => all.receivers.ids('/connected').has(message.id));
      hold(all.receivers.got.find(({ path }) => path === '/connected').body === '{"text":"paid: inv_1"}', all.receivers.got.at(-1));
      await visit.close();
    } finally {
      await all.stack.api('DELETE', `/connector/${connector.id}`);
    }
  },
  'code that the server does not take leaves no endpoint, and says why': async (all) => {
    const connector = await all.stack.api('POST', '/connector', CHAT);
    try {
      const { visit, page, at } = await customer(all, 'not-connected', { statuses: [422] });
      await page.route('**/transformation', (route) => route.fulfill({ status: 422, json: { detail: [{ loc: ['body', 'code'], msg: 'There is no handler', type: 'value_error' }] } }));
      await go(page, '#/endpoints/new');
      await page.getByRole('button', { name: 'Chat' }).click();
      await field('url', page).fill(`${all.receivers.url}/not-connected`);
      await button('addEndpoint', page).click();
      await page.getByRole('alert').getByText('There is no handler').waitFor();
      hold(!(await all.stack.api('GET', `${at}/endpoint`)).data.length, 'there is one');
      await visit.close();
    } finally {
      await all.stack.api('DELETE', `/connector/${connector.id}`);
    }
  },
  'types that do not exist yet are left out, and a connector without any says so': async (all) => {
    const some = await all.stack.api('POST', '/connector', { ...CHAT, allowedEventTypes: ['invoice.paid', 'not.yet'] });
    const none = await all.stack.api('POST', '/connector', { ...CHAT, name: 'Later', uid: 'later', allowedEventTypes: ['not.yet'] });
    try {
      const { visit, page, at } = await customer(all, 'partly-connected');
      await go(page, '#/endpoints/new');
      await page.getByRole('button', { name: 'Later' }).click();
      await field('url', page).fill(`${all.receivers.url}/partly-connected`);
      await button('addEndpoint', page).click();
      await page.getByRole('alert').getByText(T('noneExists', { names: 'not.yet' })).waitFor();
      hold(!(await all.stack.api('GET', `${at}/endpoint`)).data.length, 'there is one');
      await page.getByRole('button', { name: 'Chat' }).click();
      await button('addEndpoint', page).click();
      await page.waitForURL('**/test');
      const { data: [made] } = await all.stack.api('GET', `${at}/endpoint`);
      hold(made.eventTypes.join() === 'invoice.paid', made);
      await visit.close();
    } finally {
      for (const { id } of [some, none]) await all.stack.api('DELETE', `/connector/${id}`);
    }
  },
  'where there are no connectors, nothing is drawn and nothing waits': async (all) => {
    const { visit, page } = await customer(all, 'unconnected');
    // The form is there before the answer is.
    let answer = () => {};
    await page.route('**/api/v1/connector*', async (route) => {
      await new Promise((go) => (answer = go));
      await route.continue();
    });
    await page.evaluate(() => (location.hash = '#/endpoints/new'));
    await field('url', page).waitFor();
    await page.getByText('invoice.paid').first().waitFor();
    answer();
    await settled(page);
    hold(!(await page.getByRole('heading', { name: T('service'), exact: true }).count()), 'it is drawn');
    await visit.close();
  },
};
