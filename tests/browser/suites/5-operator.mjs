// What the organisation's team does, each with its effect checked through the API.
import { T } from '../lib/data.mjs';
import { go, settled, violations } from '../lib/browser.mjs';
import { button, card, customer, dialog, field, hold, operator, rows } from '../lib/customer.mjs';
import { eventually } from '../lib/stack.mjs';

export default {
  'an application, a link with fewer capabilities, the end of its sessions': async (all) => {
    const { visit, page } = await operator(all);
    await go(page, '#/apps', 'Acme');
    await button('newApplication', page).click();
    await field('name', page).fill('Made by hand');
    await field('uid', page).fill('by-hand');
    await button('create', page).click();
    const app = await eventually('the application', async () => (await all.stack.ask('GET', '/app/by-hand')).value?.id);
    await page.waitForURL(`**${app}**`);
    await settled(page);
    await button('portalLink', page).click();
    for (const each of ['ManageEndpoint', 'ManageEndpointSecret']) await dialog(page).getByRole('checkbox', { name: T(`cap_${each}`) }).uncheck();
    await button('makeLink', dialog(page)).click();
    const link = await dialog(page).getByRole('link', { name: T('open') }).getAttribute('href');
    const token = JSON.parse(Buffer.from(link.split('#key=')[1], 'base64')).token;
    const { value: who } = await all.stack.ask('GET', '/auth/whoami', undefined, token);
    hold(who.appId === app && who.capabilities.includes('CreateAttempts') && !who.capabilities.includes('ManageEndpoint'), who);
    // With another choice it would be another link.
    await dialog(page).getByRole('checkbox', { name: T('cap_ManageEndpoint'), exact: false }).first().check();
    await dialog(page).getByRole('link', { name: T('open') }).waitFor({ state: 'detached' });
    await button('endSessions', dialog(page)).click();
    await dialog(page).getByText(T('endSessionsText')).waitFor();
    await button('endSessions', dialog(page)).click();
    await eventually('the session has ended', async () => (await all.stack.ask('GET', '/auth/whoami', undefined, token)).status === 401);
    await visit.close();
  },
  'applications are searched': async (all) => {
    const { visit, page } = await operator(all, { statuses: [404] });
    await go(page, '#/apps', 'Acme');
    const search = page.getByRole('searchbox');
    const [acme, empty] = ['Acme', 'Empty'].map((name) => page.getByText(name, { exact: true }));
    await search.fill('acm');
    await empty.waitFor({ state: 'detached' });
    await acme.waitFor();
    await search.fill('nothing at all');
    await page.getByText(T('noMatch')).waitFor();
    await search.fill('');
    await empty.waitFor();
    await page.getByRole('button', { name: T('failing'), exact: true }).click();
    // Acme is in the list before and after: what does not fail has to leave it.
    await empty.waitFor({ state: 'detached' });
    await acme.waitFor();
    // Which ones fail is asked for apart: until that is known, nothing is said, and no wrong list is shown.
    let answer;
    const asked = new Promise((go) => (answer = go));
    await page.route(/failing-endpoint\?/, (route) => asked.then(() => route.continue()));
    await page.reload();
    await search.waitFor();
    await page.getByRole('status', { name: T('loading') }).waitFor();
    hold(!(await acme.count()) && !(await page.getByText(T('noMatch')).count()), 'something is said before it is known');
    answer();
    await acme.waitFor();
    hold(!(await empty.count()), 'one that does not fail is among those that do');
    await visit.close();
  },
  'an event type is made, changed, archived and brought back': async (all) => {
    const { visit, page } = await operator(all);
    const now = async () => (await all.stack.ask('GET', '/event-type/made.by.hand')).value;
    await go(page, '#/types');
    await button('newType', page).click();
    await field('name', dialog(page)).fill('made.by.hand');
    await field('description', dialog(page)).fill('First');
    await field('schemas', dialog(page)).fill('{"type": "object", "properties": {"id": {"type": "string"}}}');
    await button('save', dialog(page)).click();
    await eventually('the type', async () => (await now())?.schemas?.['1']);
    await go(page, '#/types/made.by.hand', 'First');
    await button('edit', page).click();
    await field('description', dialog(page)).fill('Second');
    await button('save', dialog(page)).click();
    await eventually('the change', async () => (await now()).description === 'Second');
    await button('archive', page).click();
    await button('archive', dialog(page)).click();
    await eventually('it is archived', async () => (await now()).archived);
    // Only then the page itself goes back to the list.
    await page.waitForURL('**#/types');
    await dialog(page).waitFor({ state: 'detached' });
    await go(page, '#/types/made.by.hand', 'Second');
    await button('unarchive', page).click();
    await eventually('it is back', async () => !(await now()).archived);
    await visit.close();
  },
  'an archived event type is edited: it stays archived, and what was not edited keeps each of its digits': async (all) => {
    const { visit, page } = await operator(all);
    const path = '/event-type/kept.digit';
    const text = async () => (await all.stack.ask('GET', path)).text;
    const schemas = '{"1":{"type":"object","properties":{"n":{"type":"integer","minimum":1.0,"maximum":9223372036854775807}},"examples":[{"n":9223372036854775806}]}}';
    const posted = await fetch(`${all.stack.url}/api/v1/event-type`, { method: 'POST', headers: { authorization: `Bearer ${all.stack.token}`, 'content-type': 'application/json' }, body: `{"name": "kept.digit", "description": "First", "archived": true, "schemas": ${schemas}}` });
    hold(posted.ok && (await text()).includes(schemas), await text());
    await go(page, '#/types/kept.digit', 'maximum 9223372036854775807');
    await page.locator('pre', { hasText: '"n": 9223372036854775806' }).waitFor();
    await button('edit', page).click();
    // What was not touched is closed by a click beside it, what was is kept.
    await page.mouse.click(5, 5);
    await dialog(page).waitFor({ state: 'detached' });
    await button('edit', page).click();
    const written = field('schemas', dialog(page));
    hold((await written.inputValue()).includes('"maximum": 9223372036854775807'), await written.inputValue());
    await field('description', dialog(page)).fill('Second');
    await page.mouse.click(5, 5);
    await button('save', dialog(page)).click();
    await dialog(page).waitFor({ state: 'detached' });
    const now = await text();
    hold(now.includes(schemas) && JSON.parse(now).archived && JSON.parse(now).description === 'Second', now);
    // A part of a schema that is edited leaves the rest as it is; what is no object is refused.
    await button('edit', page).click();
    await written.fill('null');
    await button('save', dialog(page)).click();
    await dialog(page).getByText(T('mustObject')).waitFor();
    await written.fill(schemas.replace('"minimum":1.0', '"minimum":2'));
    await button('save', dialog(page)).click();
    await dialog(page).waitFor({ state: 'detached' });
    hold((await text()).includes('"maximum":9223372036854775807') && (await text()).includes('"minimum":2'), await text());
    await visit.close();
  },
  'applications that fail are found although they are not among those that are loaded': async (all) => {
    const { data: { acme }, visit, page } = await operator(all);
    // A first page without it, as of an organisation with many.
    await page.route(/\/api\/v1\/app\?/, async (route) => {
      const answer = await route.fetch({ url: route.request().url().replace('limit=50', 'limit=250') });
      const list = await answer.json();
      await route.fulfill({ response: answer, json: { ...list, data: list.data.filter((app) => app.id !== acme.id), done: false } });
    });
    await go(page, '#/token', T('whoAmI'));
    await go(page, '#/apps', 'Empty');
    hold(!(await page.getByText('Acme', { exact: true }).count()), 'it is loaded');
    await page.getByRole('button', { name: T('failing'), exact: true }).click();
    await page.getByText('Acme', { exact: true }).waitFor();
    hold(!(await page.getByText('Empty', { exact: true }).count()), 'one that does not fail is among those that do');
    await visit.close();
  },
  'the theme is tried, saved, and seen by customers': async (all) => {
    const { visit, page } = await operator(all);
    await go(page, '#/theme');
    await field('displayName', page).fill('Acme Webhooks');
    await field('primaryColorLight', page).last().fill('0b6e4f');
    await button('save', page).click();
    await eventually('the theme', async () => (await all.stack.api('GET', '/environment/settings')).displayName === 'Acme Webhooks');
    await visit.close();
    const seen = await customer(all, 'themed');
    await seen.page.getByText('Acme Webhooks').first().waitFor();
    const colour = await seen.page.getByRole('link', { name: T('addEndpoint') }).first().evaluate((each) => getComputedStyle(each).backgroundColor);
    hold(colour === 'rgb(11, 110, 79)', colour);
    await seen.visit.close();
    await all.stack.api('PUT', '/environment/settings', {});
  },
  'operational webhooks: an endpoint is made, refused with a reason, and deleted': async (all) => {
    const { visit, page } = await operator(all, { statuses: [422] });
    const now = async () => (await all.stack.api('GET', '/operational-webhook/endpoint')).data;
    await go(page, '#/operational', T('operationalHow'));
    const own = card(page, 'endpoints');
    await button('addEndpoint', own).click();
    await field('url', dialog(page)).fill(`${all.receivers.url}/told`);
    await field('eventTypes', dialog(page)).fill('endpoint.* nothing here!');
    await button('addEndpoint', dialog(page)).click();
    await dialog(page).locator('.why').waitFor();
    hold(!(await violations(page)).length, await violations(page));
    await field('eventTypes', dialog(page)).fill('endpoint.*');
    await button('addEndpoint', dialog(page)).click();
    await own.getByText(T('ep_active')).waitFor();
    const [made] = await now();
    hold(made.url === `${all.receivers.url}/told` && made.filterTypes.join() === 'endpoint.*', made);
    await all.stack.api('POST', `/app/${(await all.stack.api('POST', '/app', { name: 'Told', uid: 'told' })).id}/endpoint`, { url: `${all.receivers.url}/ok` });
    await eventually('it is told', () => all.receivers.ids('/told').size > 0);
    await button('delete', own).click();
    await button('delete', dialog(page)).click();
    await eventually('it is gone', async () => !(await now()).length);
    await visit.close();
  },
  'failing endpoints and undelivered messages of all applications': async (all) => {
    const { data, visit, page } = await operator(all);
    await go(page, '#/attention', '/fail');
    await page.locator(`main a[href$="/endpoints/${data.endpoints.fail.id}"]`).click();
    await page.waitForURL(`**/endpoints/${data.endpoints.fail.id}`);
    await page.getByText(T('failOn')).waitFor();
    const app = await all.stack.api('POST', '/app', { name: 'Waits', uid: 'waits' });
    all.receivers.broken.add('waits');
    await all.stack.api('POST', '/app/waits/endpoint', { url: `${all.receivers.url}/waits` });
    const message = await all.stack.api('POST', '/app/waits/msg', { eventType: 'invoice.paid', payload: { id: 'inv_w' } });
    const waiting = async () => (await all.stack.api('GET', '/app/waits/undelivered')).data.length;
    await eventually('it is exhausted', async () => (await waiting()) === 1);
    all.receivers.broken.delete('waits');
    await go(page, '#/attention?view=messages', message.id);
    await page.getByRole('checkbox', { name: T('pick', { name: message.id }) }).check();
    await button('resend', page).click();
    await eventually('nothing waits', async () => (await waiting()) === 0);
    await go(page, `#/audit?app_id=${app.id}`, app.id);
    await visit.close();
  },
  'the audit log is filtered': async (all) => {
    const { data, visit, page } = await operator(all);
    await go(page, '#/audit');
    await page.getByLabel(T('f_subject')).fill(data.endpoints.ok.id);
    await page.keyboard.press('Enter');
    await page.waitForURL(`**${data.endpoints.ok.id}`);
    await rows(page.locator('.list li'), 1);
    await visit.close();
  },
  'a token is revoked': async (all) => {
    const { data, visit, page } = await operator(all);
    const { token } = await all.stack.linkTo(data.acme.id);
    await go(page, '#/token');
    await field('tokenOrId', page).fill(token);
    await button('revoke', page).click();
    await eventually('it is refused', async () => (await all.stack.ask('GET', '/auth/whoami', undefined, token)).status === 401, 90_000);
    await visit.close();
  },
};
