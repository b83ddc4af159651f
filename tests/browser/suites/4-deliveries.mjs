// What a customer does with messages and their deliveries, each with its effect checked through the API.
import { createHmac } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { T, world } from '../lib/data.mjs';
import { go, settled } from '../lib/browser.mjs';
import { button, card, customer, dialog, hold, rows } from '../lib/customer.mjs';
import { eventually } from '../lib/stack.mjs';

/** Counts first, then starts; waits for its task to show in the history. */
async function recover(page, key) {
  await page.getByRole('button', { name: T(key), exact: true }).click();
  await button('countFirst', page).click();
  await dialog(page).getByText(T('messageWill')).waitFor();
  const count = await dialog(page).locator('.num').innerText();
  const tasks = card(page, 'history').locator('li');
  await settled(page);
  const before = await tasks.count();
  await button('startNow', dialog(page)).click();
  await tasks.nth(before).waitFor();
  await dialog(page).waitFor({ state: 'detached' });
  return count;
}

export default {
  'a message is found and resent to one endpoint': async (all) => {
    const { visit, page, endpoint, send, attempts } = await customer(all, 'resends');
    await endpoint('resent');
    const message = await send({ id: 'inv_7' }, { eventId: 'order-7' });
    await eventually('an attempt', async () => (await attempts(message.id)).length === 1);
    await go(page, '#/deliveries');
    await page.getByLabel(T('jumpTo')).fill('order-7');
    await page.keyboard.press('Enter');
    await page.getByText('inv_7').first().waitFor();
    await button('resend', page).first().click();
    await eventually('a second attempt', async () => (await attempts(message.id)).filter((one) => one.triggerType === 1).length === 1);
    await page.getByText(T('byHand')).waitFor();
    await visit.close();
  },
  'a message is resent to those that failed, and to all': async (all) => {
    const { visit, page, endpoint, send, attempts, exhausted } = await customer(all, 'resends-some');
    all.receivers.broken.add('resends-some');
    const good = await endpoint('good');
    const bad = await endpoint('resends-some');
    const message = await send({ id: 'inv_8' });
    const byHand = async (id) => (await attempts(message.id)).filter((one) => one.triggerType === 1 && one.endpointId === id).length;
    await go(page, `#/messages/${message.id}`, 'inv_8');
    // It fails, and it is said when it is tried next; after its retries it is exhausted.
    await page.getByText(T('nextAttempt')).first().waitFor();
    await exhausted(message.id);
    all.receivers.broken.delete('resends-some');
    await button('resendFailed', page).click();
    await eventually('the failed one alone', async () => (await byHand(bad.id)) === 1);
    hold((await byHand(good.id)) === 0, 'it went to the one that had it');
    await rows(page.getByText(T('byHand')), 1);
    await button('resendAll', page).click();
    await eventually('both', async () => (await byHand(good.id)) === 1 && (await byHand(bad.id)) === 2);
    // The page follows, without a reload.
    await rows(page.getByText(T('byHand')), 3);
    await visit.close();
  },
  'many messages are resent at once': async (all) => {
    const { visit, page, endpoint, send, attempts } = await customer(all, 'resends-many');
    const { id } = await endpoint('many');
    const messages = [];
    for (const number of [1, 2, 3]) messages.push(await send({ number }));
    for (const message of messages) await eventually('an attempt', async () => (await attempts(message.id)).length === 1);
    await go(page, `#/endpoints/${id}/deliveries`, messages[0].id);
    await page.getByRole('checkbox', { name: T('pickAll') }).check();
    await button('resend', page).click();
    for (const message of messages) await eventually('another', async () => (await attempts(message.id)).length === 2);
    await visit.close();
  },
  'what was never delivered is resent': async (all) => {
    const { visit, page, endpoint, send } = await customer(all, 'undelivered');
    all.receivers.broken.add('undelivered');
    await endpoint('undelivered');
    const message = await send({ id: 'inv_9' });
    const waiting = async () => (await all.stack.api('GET', '/app/undelivered/undelivered')).data;
    await eventually('it is exhausted', async () => (await waiting()).length === 1);
    all.receivers.broken.delete('undelivered');
    await go(page, '#/deliveries?view=needs', message.id);
    await page.getByRole('checkbox', { name: T('pickAll') }).check();
    await button('resend', page).click();
    await eventually('nothing waits', async () => (await waiting()).length === 0);
    await go(page, '#/deliveries');
    await go(page, '#/deliveries?view=needs', T('allDelivered'));
    await visit.close();
  },
  'what fails while several are resent is said, stays selected, and keeps none of the others from it': async (all) => {
    const { visit, page, endpoint, send, attempts } = await customer(all, 'resends-partly', { statuses: [409] });
    all.receivers.broken.add('resends-partly');
    const { id } = await endpoint('resends-partly');
    const messages = [];
    for (const number of [1, 2, 3]) messages.push(await send({ number }));
    await eventually('they are exhausted', async () => (await all.stack.api('GET', '/app/resends-partly/undelivered')).data.length === 3);
    all.receivers.broken.delete('resends-partly');
    // The one in the middle, whichever way the list goes.
    await page.route(`**/msg/${messages[1].id}/endpoint/${id}/resend`, (route) => route.fulfill({ status: 409, json: { code: 'conflict', detail: 'for a test' } }));
    const said = page.getByRole('status').getByText('for a test');
    const byHand = async (at) => (await attempts(messages[at].id)).filter((one) => one.triggerType === 1).length;
    await go(page, '#/deliveries?view=needs', messages[0].id);
    await page.getByRole('checkbox', { name: T('pickAll') }).check();
    await button('resend', page).click();
    await said.waitFor();
    hold((await said.innerText()).startsWith(T('someFailed', { n: 2, failed: 1 }).split(':')[0]), await said.innerText());
    for (const at of [0, 2]) await eventually('it is resent', async () => (await byHand(at)) === 1);
    hold(await page.getByRole('checkbox', { name: T('pick', { name: messages[1].id }) }).isChecked(), 'it is not selected');
    await page.getByText(T('nPicked', { n: 1 })).waitFor();
    await said.waitFor({ state: 'detached' });
    await go(page, `#/endpoints/${id}/deliveries`, messages[0].id);
    await page.getByRole('checkbox', { name: T('pickAll') }).check();
    await button('resend', page).click();
    await said.waitFor();
    for (const at of [0, 2]) await eventually('it is resent', async () => (await byHand(at)) === 2);
    await page.getByText(T('nPicked', { n: 1 })).waitFor();
    hold((await byHand(1)) === 0, 'the test lets it through');
    await visit.close();
  },
  'a message goes to all of its endpoints again, however many; one that was deleted gets none': async (all) => {
    const { visit, page, at, endpoint, send } = await customer(all, 'resends-60');
    await Promise.all(Array.from({ length: 60 }, (_, n) => endpoint(`sixty-${n}`)));
    const message = await send({ id: 'inv_60' });
    const list = async () => {
      const found = [];
      for (let page = {}; !page.done; found.push(...page.data)) page = await all.stack.api('GET', `${at}/attempt/msg/${message.id}?limit=250${page.iterator ? `&iterator=${page.iterator}` : ''}`);
      return found;
    };
    await eventually('all have it', async () => (await list()).length === 60);
    const { data: [first] } = await all.stack.api('GET', `${at}/msg/${message.id}/endpoint`);
    await all.stack.api('DELETE', `${at}/endpoint/${first.id}`);
    await go(page, `#/messages/${message.id}`, 'inv_60');
    await page.getByText(T('deleted'), { exact: true }).waitFor();
    const gone = page.locator('.card').filter({ has: page.getByRole('link', { name: new RegExp(`${new URL(first.url).pathname}$`) }) });
    hold(!(await button('resend', gone).count()) && !(await gone.getByRole('button', { name: 'curl' }).count()), 'it is offered for one that is gone');
    await button('resendAll', page).click();
    await eventually('59 have it again', async () => (await list()).filter((one) => one.triggerType === 1).length === 59);
    await page.getByRole('status').getByText(T('resent')).waitFor();
    await visit.close();
  },
  'a payload that a transformation changes, or that is sent in a list, is said to be, and no curl is made of it': async (all) => {
    const { visit, page, at, endpoint, send } = await customer(all, 'altered');
    const plain = await endpoint('plain');
    const code = await endpoint('code');
    await all.stack.api('PATCH', `${at}/endpoint/${code.id}/transformation`, { code: 'function handler(webhook) { webhook.payload = { other: 1 }; return webhook }', enabled: true });
    await endpoint('batch', { fifo: true, batchSize: 5 });
    const message = await send({ id: 'inv_x' });
    await go(page, `#/messages/${message.id}`, 'inv_x');
    const destination = (path) => page.locator('.card', { hasText: `/${path}` });
    const curl = (path) => destination(path).getByRole('button', { name: 'curl' });
    await destination('code').getByText(T('transformed')).waitFor();
    await destination('batch').getByText(T('inList')).waitFor();
    await curl('plain').waitFor();
    hold(!(await curl('code').count()) && !(await curl('batch').count()), 'curl is offered');
    await button('asPosted', page).waitFor();
    for (const tab of ['', '/settings', '/test']) await go(page, `#/endpoints/${code.id}${tab}`, T('transformed'));
    await go(page, `#/endpoints/${plain.id}`);
    await settled(page);
    hold(!(await page.getByText(T('transformed')).count()), 'it is said of one that has none');
    await eventually('the delivery', () => all.receivers.ids('/code').size);
    await all.stack.api('DELETE', `${at}/msg/${message.id}/content`);
    await go(page, `#/messages/${message.id}`, T('payloadGone'));
    await settled(page);
    hold(!(await curl('plain').count()), 'curl is offered without a payload');
    await visit.close();
  },
  'a range of time is read in the zone that is shown, and means the same in another and after a reload': async (all) => {
    const { visit, page, endpoint, send } = await customer(all, 'ranges');
    const { id } = await endpoint('ranges');
    await send({ id: 'inv_z' });
    const from = page.getByLabel(T('from'), { exact: true });
    const asked = [];
    page.on('request', (request) => asked.push(new URL(request.url())));
    const after = () => asked.filter(({ pathname }) => pathname.endsWith('/msg')).at(-1)?.searchParams.get('after');
    await go(page, '#/deliveries?span=own');
    await from.fill('2026-01-15T08:00');
    await page.waitForURL('**from=**');
    // Berlin, in winter.
    await eventually('the request', () => after() === '2026-01-15T07:00:00.000Z');
    await page.getByRole('button', { name: T('localTime'), exact: true }).click();
    await eventually('the same moment', async () => (await from.inputValue()) === '2026-01-15T07:00');
    await settled(page);
    hold(after() === '2026-01-15T07:00:00.000Z', after());
    await from.fill('2026-01-15T09:00');
    await eventually('the request', () => after() === '2026-01-15T09:00:00.000Z');
    // The switch holds for a recovery as well.
    await go(page, `#/endpoints/${id}/recovery`);
    await page.getByLabel(T('period'), { exact: true }).selectOption('own');
    const day = new Date(Date.now() - 2 * 86_400_000).toISOString().slice(0, 10);
    await from.fill(`${day}T05:00`);
    const [count] = await Promise.all([page.waitForRequest('**/recover/count'), button('countFirst', page).click()]);
    hold(count.postDataJSON().since === `${day}T05:00:00.000Z`, count.postData());
    await button('cancel', dialog(page)).click();
    await go(page, '#/deliveries?span=own&from=2026-01-15T09%3A00%3A00.000Z');
    await page.reload();
    await eventually('local time again', async () => (await from.inputValue()) === '2026-01-15T10:00');
    await settled(page);
    hold(after() === '2026-01-15T09:00:00.000Z', after());
    await visit.close();
  },
  'Back from a message finds a long list as it was left': async (all) => {
    const { visit, page, endpoint, send } = await customer(all, 'long-list');
    await endpoint('long-list');
    for (let number = 0; number < 70; number += 1) await send({ number });
    await go(page, '#/deliveries');
    const shown = page.getByRole('row').filter({ hasText: 'msg_' });
    await button('more', page).click();
    await rows(shown, 70);
    const id = (await shown.nth(65).innerText()).match(/msg_\w+/)[0];
    await shown.nth(65).getByRole('link').click();
    await page.getByRole('heading', { name: T('payload') }).waitFor();
    await page.goBack();
    await rows(shown, 70);
    await eventually('it is in view', () => page.getByText(id).evaluate((each) => {
      const { top, bottom } = each.getBoundingClientRect();
      return top >= 0 && bottom <= innerHeight;
    }));
    // A step forward begins at the top, with what is new.
    await go(page, '#/live');
    await go(page, '#/deliveries');
    hold((await page.evaluate(() => scrollY)) === 0, 'it does not begin at the top');
    await rows(shown, 50);
    await visit.close();
  },
  'patterns are no filter for lists and replays: that is said': async (all) => {
    const { visit, page, endpoint } = await customer(all, 'no-patterns');
    const { id } = await endpoint('no-patterns');
    await go(page, '#/deliveries?type=invoice.*', T('wholeTypes'));
    await go(page, `#/endpoints/${id}/recovery`);
    await page.getByRole('button', { name: T('do_bulk-replay'), exact: true }).click();
    await page.getByLabel(T('eventTypes'), { exact: true }).fill('invoice.*');
    await page.getByText(T('wholeTypes')).waitFor();
    hold(await button('countFirst', page).isDisabled(), 'it can be started');
    await visit.close();
  },
  'recovery: a count, a start, and its effect': async (all) => {
    const { visit, page, endpoint, send, attempts, exhausted } = await customer(all, 'recovers', { statuses: [403] });
    all.receivers.broken.add('recovers');
    const { id } = await endpoint('recovers');
    const message = await send({ id: 'inv_10' });
    await exhausted(message.id);
    all.receivers.broken.delete('recovers');
    await go(page, `#/endpoints/${id}/recovery`);
    hold((await recover(page, 'do_recover')) === '1', 'another count');
    await eventually('the delivery', async () => (await attempts(message.id)).some((one) => one.status === 0));
    await visit.close();
  },
  'replay of what is missing, and by filter': async (all) => {
    const { visit, page, endpoint, send, attempts } = await customer(all, 'replays', { statuses: [403] });
    const before = await send({ id: 'inv_11' });
    const { id } = await endpoint('replays');
    const other = await send({ id: 'u_1' }, { eventType: 'user.created' });
    await eventually('an attempt', async () => (await attempts(other.id)).length === 1);
    await go(page, `#/endpoints/${id}/recovery`);
    hold((await recover(page, 'do_replay-missing')) === '1', 'another count of what is missing');
    await eventually('what was missing', async () => (await attempts(before.id)).length === 1);
    await page.getByRole('button', { name: T('do_bulk-replay'), exact: true }).click();
    await page.getByLabel(T('eventTypes'), { exact: true }).fill('user.created');
    hold((await recover(page, 'do_bulk-replay')) === '1', 'another count by filter');
    await eventually('the filtered', async () => (await attempts(other.id)).length === 2);
    hold((await attempts(before.id)).length === 1, 'more than the filter says');
    await visit.close();
  },
  'progress of a recovery, as the organisation sees it': async (all) => {
    const { visit, page, app, endpoint, send } = await customer(all, 'progress');
    await visit.close();
    const { id } = await endpoint('progress');
    for (const number of [1, 2]) await send({ number });
    const team = all.visitor();
    const desk = await team.open(all.stack.link);
    await settled(desk);
    await go(desk, `#/app/${app.id}/endpoints/${id}/recovery`);
    await desk.getByRole('button', { name: T('do_bulk-replay'), exact: true }).click();
    await button('countFirst', desk).click();
    await button('startNow', dialog(desk)).click();
    await card(desk, 'history').getByText(T('st_finished')).waitFor({ timeout: 60_000 });
    await card(desk, 'history').getByText(T('nSent', { n: 2 }).split('|')[1], { exact: true }).waitFor();
    await go(desk, `#/app/${app.id}/recovery`, T('task_endpoint.bulk-replay'));
    await go(desk, '#/tasks', T('task_endpoint.bulk-replay'));
    await team.close();
    hold(page, 'no page');
  },
  'live: attempts show as they come, pause holds them, only failing': async (all) => {
    const { visit, page, endpoint, send } = await customer(all, 'live');
    await endpoint('live');
    await endpoint('fail');
    await go(page, '#/live');
    await send({}, { eventType: 'live.one' });
    await page.getByText('live.one').first().waitFor();
    await button('pause', page).click();
    await send({}, { eventType: 'live.two' });
    // Two turns of the page's clock.
    await page.waitForTimeout(4500);
    hold(!(await page.getByText('live.two').count()), 'it was not paused');
    // More than a page of them is not missed.
    for (let number = 1; number <= 30; number += 1) await send({ number }, { eventType: `live.more.${number}` });
    await eventually('they have arrived', () => all.receivers.ids('/live').size === 32);
    await button('resume', page).click();
    await page.getByText('live.two').first().waitFor();
    await page.getByText('live.more.1', { exact: true }).first().waitFor();
    await page.getByLabel(T('onlyFailing')).check();
    await page.locator('.list li', { hasText: T('st_success') }).first().waitFor({ state: 'detached' });
    await page.locator('.list li', { hasText: '500' }).first().waitFor();
    await visit.close();
  },
  'what a filter shows is in the address, and survives reload and Back': async (all) => {
    const { acme, endpoints, messages } = await world(all.stack, all.receivers);
    const visit = all.visitor();
    const page = await visit.open((await all.stack.linkTo(acme.id)).url);
    await settled(page);
    await go(page, `#/endpoints/${endpoints.fail.id}/deliveries`, messages[0].id);
    await page.getByRole('group', { name: T('status') }).getByRole('button', { name: T('st_fail') }).click();
    await page.getByLabel(T('eventType'), { exact: true }).fill('user.created');
    await page.keyboard.press('Enter');
    await page.waitForURL('**user.created**');
    const shown = page.getByRole('row').filter({ hasText: 'msg_' });
    await rows(shown, 1);
    const url = page.url();
    hold(url.includes('status=fail') && url.includes('type=user.created'), url);
    await page.reload();
    await rows(shown, 1);
    hold(page.url() === url, 'the reload lost it');
    await page.goBack();
    await page.getByText(messages[0].id).waitFor();
    hold(page.url().includes('status=fail') && !page.url().includes('user.created'), page.url());
    await visit.close();
  },
  'curl is copied with a signature that holds, and the payload is downloaded as it was sent': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'copies', { permissions: ['clipboard-read', 'clipboard-write'], statuses: [404, 501] });
    const { id } = await endpoint('copies');
    // Posted as text, so that spaces and order are the test's.
    const payload = '{"z": 1.0, "a":  "it\'s", "n": 12345678901234567890}';
    const posted = await fetch(`${all.stack.url}/api/v1${at}/msg`, { method: 'POST', headers: { authorization: `Bearer ${all.stack.token}`, 'content-type': 'application/json' }, body: `{"eventType": "invoice.paid", "payload": ${payload}}` });
    const message = await posted.json();
    const sent = await eventually('a delivery', () => all.receivers.got.find((one) => one.path === '/copies'));
    await go(page, `#/messages/${message.id}`);
    // Numbers are shown digit by digit, which no JavaScript number has.
    await page.locator('pre', { hasText: '"n": 12345678901234567890' }).waitFor();
    await page.getByRole('button', { name: 'curl' }).click();
    const curl = await eventually('a command', async () => (await page.evaluate(() => navigator.clipboard.readText())).startsWith('curl') && page.evaluate(() => navigator.clipboard.readText()));
    const { key } = await all.stack.api('GET', `${at}/endpoint/${id}/secret`);
    const header = (name) => new RegExp(`${name}: ([^']+)'`).exec(curl)[1];
    const body = /--data-raw '([\s\S]*)'$/.exec(curl)[1].replaceAll("'\\''", "'");
    const mac = createHmac('sha256', Buffer.from(key.slice(6), 'base64')).update(`${header('webhook-id')}.${header('webhook-timestamp')}.${body}`).digest('base64');
    hold(header('webhook-signature').includes(`v1,${mac}`), curl);
    hold(body === sent.body, `${body} is not ${sent.body}`);
    const [file] = await Promise.all([page.waitForEvent('download'), button('download', page).click()]);
    hold(readFileSync(await file.path(), 'utf8') === sent.body, 'the download is not what was sent');
    await visit.close();
  },
};
