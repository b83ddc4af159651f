// What a customer does with endpoints, each with its effect checked through the API.
import { NASTY, T, begins } from '../lib/data.mjs';
import { go, settled } from '../lib/browser.mjs';
import { button, card, customer, dialog, field, hold, rows } from '../lib/customer.mjs';
import { eventually } from '../lib/stack.mjs';

export default {
  'an endpoint is added, with types, and tested at once': async (all) => {
    const { visit, page, at } = await customer(all, 'adds');
    await page.getByRole('link', { name: T('addEndpoint') }).first().click();
    await field('url', page).fill('not a url');
    await page.getByText(T('urlBad')).waitFor();
    await field('url', page).fill('example.com/hooks');
    await page.getByText(T('urlMean', { url: 'https://example.com/hooks' })).waitFor();
    await field('url', page).fill(`${all.receivers.url}/added`);
    await page.getByText(T('noneIsAll')).waitFor();
    await page.getByRole('checkbox', { name: 'Billing', exact: true }).check();
    await button('addEndpoint', page).click();
    // An example goes out, and its answer is shown.
    await button('sendTest', page).click();
    await page.getByText('thank you').waitFor();
    const { data } = await all.stack.api('GET', `${at}/endpoint`);
    hold(data.length === 1 && data[0].eventTypes?.sort().join() === 'invoice.paid,invoice.voided', data);
    hold(all.receivers.got.some((one) => one.path === '/added' && JSON.parse(one.body).id === 'inv_1'), 'the example did not arrive');
    await visit.close();
  },
  'an endpoint is added with all that there is to say': async (all) => {
    const { visit, page, at } = await customer(all, 'adds-all');
    await go(page, '#/endpoints/new');
    await field('url', page).fill(`${all.receivers.url}/all`);
    await field('description', page).fill('All of it');
    await page.getByText(T('advanced'), { exact: true }).click();
    await field('rateLimit', page).fill('7');
    await field('uid', page).fill('mine');
    await field('channels', page).fill('one, two');
    const secret = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;
    await field('ownSecret', page).fill(secret);
    await button('addEndpoint', page).click();
    await page.waitForURL('**/test');
    const made = await all.stack.api('GET', `${at}/endpoint/mine`);
    hold(made.rateLimit === 7 && made.channels.sort().join() === 'one,two' && made.description === 'All of it' && !made.eventTypes?.length, made);
    hold((await all.stack.api('GET', `${at}/endpoint/mine/secret`)).key === secret, 'it is another secret');
    await visit.close();
  },
  'an endpoint is changed, disabled, enabled and deleted': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'changes');
    const { id } = await endpoint('changed');
    const now = () => all.stack.api('GET', `${at}/endpoint/${id}`);
    await go(page, `#/endpoints/${id}/settings`);
    await field('description', page).fill('Changed by hand');
    await button('save', page).first().click();
    await eventually('the description', async () => (await now()).description === 'Changed by hand');
    await button('disable', page).click();
    await eventually('it is disabled', async () => (await now()).disabled);
    await page.getByText(T('ep_off')).first().waitFor();
    await button('enable', page).click();
    await eventually('it is enabled', async () => !(await now()).disabled);
    await button('delete', page).click();
    await button('cancel', dialog(page)).click();
    await dialog(page).waitFor({ state: 'detached' });
    hold((await now()).id === id, 'it was deleted without a yes');
    await button('delete', page).click();
    await button('delete', dialog(page)).click();
    await eventually('it is gone', async () => (await all.stack.ask('GET', `${at}/endpoint/${id}`)).status === 404);
    await page.getByText(T('noEndpointsText')).waitFor();
    await visit.close();
  },
  'several endpoints at once': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'several');
    for (const path of ['a', 'b', 'c']) await endpoint(path);
    const list = async () => (await all.stack.api('GET', `${at}/endpoint`)).data;
    await go(page, '#/deliveries');
    await go(page, '#/endpoints');
    for (const path of ['a', 'b']) await page.getByRole('checkbox', { name: T('pick', { name: `${all.receivers.url}/${path}` }) }).check();
    await button('disable', page).click();
    await eventually('two are disabled', async () => (await list()).filter((one) => one.disabled).length === 2);
    // Then nothing is selected any more.
    await button('disable', page).waitFor({ state: 'detached' });
    await settled(page);
    for (const path of ['a', 'b']) await page.getByRole('checkbox', { name: T('pick', { name: `${all.receivers.url}/${path}` }) }).check();
    await button('delete', page).click();
    await button('delete', dialog(page)).click();
    await eventually('one is left', async () => (await list()).length === 1);
    await visit.close();
  },
  'several endpoints at once, one of which is gone: the others are changed, and it is said': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'several-gone', { statuses: [404] });
    const made = [];
    for (const path of ['a', 'b', 'c']) made.push(await endpoint(path));
    await go(page, '#/deliveries');
    await go(page, '#/endpoints');
    for (const path of ['a', 'b', 'c']) await page.getByRole('checkbox', { name: T('pick', { name: `${all.receivers.url}/${path}` }) }).check();
    await all.stack.api('DELETE', `${at}/endpoint/${made[1].id}`);
    await button('disable', page).click();
    await page.getByRole('status').getByText(T('someFailed', { n: 2, failed: 1 }).split('{')[0].trim()).waitFor();
    await rows(page.getByRole('row').getByText(T('ep_off'), { exact: true }), 2);
    await rows(page.locator('tbody tr'), 2);
    hold((await all.stack.api('GET', `${at}/endpoint`)).data.every((one) => one.disabled), 'one is left out');
    await visit.close();
  },
  'settings: what was typed stays when the endpoint is disabled, and what others changed stays when it is saved': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'typed');
    const { id } = await endpoint('typed', { description: 'First', rateLimit: 5 });
    const now = () => all.stack.api('GET', `${at}/endpoint/${id}`);
    await go(page, `#/endpoints/${id}/settings`);
    await field('description', page).fill('Typed');
    await button('disable', page).click();
    await button('enable', page).waitFor();
    await settled(page);
    hold((await field('description', page).inputValue()) === 'Typed', 'what was typed is gone');
    // As in another tab.
    await all.stack.api('PATCH', `${at}/endpoint/${id}`, { rateLimit: 9, eventTypes: ['invoice.paid'], metadata: { a: '1' } });
    await button('save', page).first().click();
    await eventually('the description', async () => (await now()).description === 'Typed');
    const saved = await now();
    hold(saved.rateLimit === 9 && saved.eventTypes.join() === 'invoice.paid' && saved.metadata.a === '1' && saved.disabled, saved);
    // The page shows what the others changed.
    await eventually('the other change', async () => (await field('rateLimit', page).inputValue()) === '9');
    await visit.close();
  },
  'an endpoint is added once, however fast somebody is': async (all) => {
    const { visit, page, at } = await customer(all, 'twice');
    await go(page, '#/endpoints/new');
    await field('url', page).fill(`${all.receivers.url}/twice`);
    await page.locator('main form').evaluate((form) => [1, 2].forEach(() => form.requestSubmit()));
    await page.waitForURL('**/test');
    await settled(page);
    await button('sendTest', page).evaluate((each) => [1, 2].forEach(() => each.click()));
    await page.getByText('thank you').waitFor();
    hold((await all.stack.api('GET', `${at}/endpoint`)).data.length === 1, 'two are there');
    hold(all.receivers.ids('/twice').size === 1, 'two tests were sent');
    await visit.close();
  },
  'one that fails and is disabled: nobody is said to have done it': async (all) => {
    const { visit, page, at, endpoint, send, exhausted } = await customer(all, 'disabled-failing');
    all.receivers.broken.add('disabled-failing');
    const { id } = await endpoint('disabled-failing');
    await exhausted((await send({ id: 'inv_d' })).id);
    await eventually('it fails', async () => (await all.stack.api('GET', `${at}/failing-endpoint`)).data.length);
    await go(page, `#/endpoints/${id}`, T('failOn'));
    await button('disable', page).click();
    await page.getByText(T('failOff')).waitFor();
    await page.getByText(T('ep_offFailing'), { exact: true }).waitFor();
    await visit.close();
  },
  'a test of an endpoint that subscribes by patterns: their types are offered': async (all) => {
    const { visit, page, endpoint } = await customer(all, 'tests-pattern');
    const { id } = await endpoint('pattern', { filterTypes: ['invoice.*', '*.created'] });
    await go(page, `#/endpoints/${id}/test`);
    const type = page.getByLabel(T('eventType'), { exact: true });
    const names = await type.locator('option').allInnerTexts();
    hold(['invoice.paid', 'invoice.voided', 'user.created'].every((name) => names.includes(name)) && !names.some((name) => name.includes('*')), names);
    await type.selectOption('invoice.paid');
    await eventually('the example', async () => (await page.getByLabel(T('payload'), { exact: true }).inputValue()).includes('inv_1'));
    await button('sendTest', page).click();
    await page.getByText('thank you').waitFor();
    await visit.close();
  },
  'headers are set and removed, and known secrets stay masked': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'headers');
    const { id } = await endpoint('headers', { headers: { authorization: 'Bearer hidden', 'x-one': '1' } });
    await go(page, `#/endpoints/${id}/settings`);
    const headers = card(page, 'headers');
    await button('remove', headers).last().click();
    await button('add', headers).click();
    await headers.getByLabel(T('name'), { exact: true }).last().fill('x-two');
    await headers.getByLabel(T('value'), { exact: true }).last().fill('2');
    await button('save', headers).click();
    const now = await eventually('the headers', async () => {
      const found = await all.stack.api('GET', `${at}/endpoint/${id}/headers`);
      return found.headers['x-two'] === '2' && found;
    });
    hold(!('x-one' in now.headers) && now.sensitive.join().toLowerCase() === 'authorization', now);
    hold(!(await page.content()).includes('Bearer hidden'), 'the secret header is shown');
    // One that nobody sees is replaced, masked as soon as it is saved, and removed.
    await button('add', headers).click();
    await headers.getByLabel(T('name'), { exact: true }).last().fill('Authorization');
    await headers.getByLabel(T('value'), { exact: true }).last().fill('Bearer next');
    await button('save', headers).click();
    await rows(headers.getByLabel(T('value'), { exact: true }), 1);
    hold(!(await headers.locator('input').evaluateAll((all) => all.map((each) => each.value))).includes('Bearer next'), 'the value is shown');
    await button('remove', headers).first().click();
    hold(!(await headers.getByText('••••••••').count()), 'it is still there');
    await button('save', headers).click();
    await eventually('it is removed', async () => !(await all.stack.api('GET', `${at}/endpoint/${id}/headers`)).sensitive.length);
    hold((await all.stack.api('GET', `${at}/endpoint/${id}/headers`)).headers['x-two'] === '2', 'another one is gone');
    await visit.close();
  },
  'the secret is revealed, hidden and rotated, and it is said which one is valid until when': async (all) => {
    const { visit, page, at, endpoint, send } = await customer(all, 'secrets');
    const { id } = await endpoint('rotated');
    const { key } = await all.stack.api('GET', `${at}/endpoint/${id}/secret`);
    await go(page, `#/endpoints/${id}/secret`);
    const shown = () => field('secret', page).inputValue();
    hold(!(await page.content()).includes(key), 'it is on the page before anybody asked');
    await button('reveal', page).click();
    await eventually('the secret', async () => (await shown()) === key);
    await button('hide', page).click();
    await eventually('it is hidden', async () => (await shown()) !== key);
    await button('rotate', page).first().click();
    await button('rotate', dialog(page)).click();
    await page.getByText(T('keyNow')).waitFor();
    await page.getByText(begins('keyOld')).waitFor();
    hold((await all.stack.api('GET', `${at}/endpoint/${id}/secret`)).key !== key, 'it is the same secret');
    await send({ id: 'inv_r' });
    const got = await eventually('a delivery', () => all.receivers.got.find((one) => one.path === '/rotated'));
    hold(got.headers['webhook-signature'].split(' ').length === 2, got.headers);
    await visit.close();
  },
  'who rotates a secret and may not see it is shown the new one once': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'rotates-blind', { link: { capabilities: ['ViewBase', 'ManageEndpointSecret'] } });
    const { id } = await endpoint('rotates-blind');
    await go(page, `#/endpoints/${id}/secret`, T('needs', { capability: 'ViewEndpointSecret' }));
    await button('rotate', page).click();
    await button('rotate', dialog(page)).click();
    await page.getByText(T('secretOnce')).waitFor();
    await page.getByText((await all.stack.api('GET', `${at}/endpoint/${id}/secret`)).key).waitFor();
    await visit.close();
  },
  'a test with a payload of one\'s own: refused with a reason, or sent to this endpoint as it is written': async (all) => {
    const { visit, page, endpoint } = await customer(all, 'tests-own', { statuses: [413] });
    const { id } = await endpoint('own-payload', { filterTypes: ['invoice.paid'] });
    await endpoint('own-other');
    const got = (path) => all.receivers.got.filter((one) => one.path === path);
    await go(page, `#/endpoints/${id}/test`);
    const payload = page.getByLabel(T('payload'), { exact: true });
    await eventually('the example', async () => (await payload.inputValue()).includes('inv_1'));
    for (const [bad, why] of [['{"id": ', 'notJson'], ['', 'notJson'], [NASTY.html, 'notJson'], ["{'id': 1}", 'notJson'], ['[1]', 'mustObject'], ['null', 'mustObject'], ['"text"', 'mustObject']]) {
      await payload.fill(bad);
      await page.getByRole('alert').getByText(begins(why)).waitFor();
      hold(await button('sendTest', page).isDisabled(), `${bad} can be sent`);
    }
    await payload.fill(JSON.stringify({ text: 'y'.repeat(1_100_000) }));
    await button('sendTest', page).click();
    await page.getByText(T('e_413')).first().waitFor();
    const own = `{"id": "inv_own",  "n": 12345678901234567890, "z": 1.0, "html": ${JSON.stringify(NASTY.html)}}`;
    await payload.fill(own);
    await button('sendTest', page).click();
    await page.getByText('thank you').waitFor();
    hold(got('/own-payload').length === 1 && got('/own-payload')[0].body === own, got('/own-payload'));
    hold(!got('/own-other').length, 'another endpoint got it');
    // Indented, it is the same to a receiver.
    await button('reformat', page).click();
    await eventually('it is indented', async () => (await payload.inputValue()).includes('\n  "n": 12345678901234567890,'));
    await visit.close();
  },
  'a link that does not show the secret sends examples as they are': async (all) => {
    const { visit, page, endpoint } = await customer(all, 'tests-example', { link: { capabilities: ['ViewBase', 'CreateAttempts'] } });
    const { id } = await endpoint('example-only', { filterTypes: ['invoice.paid', 'invoice.voided'] });
    await go(page, `#/endpoints/${id}/test`, T('testHintOwn'));
    const type = page.getByLabel(T('eventType'), { exact: true });
    await type.selectOption('invoice.voided');
    await page.getByText(T('testNone')).waitFor();
    hold(await button('sendTest', page).isDisabled(), 'nothing can be sent');
    await type.selectOption('invoice.paid');
    const payload = page.getByLabel(T('payload'), { exact: true });
    await payload.waitFor();
    hold(!(await payload.isEditable()), 'it can be edited');
    await button('sendTest', page).click();
    await page.getByText('thank you').waitFor();
    const got = all.receivers.got.filter((one) => one.path === '/example-only');
    hold(got.length === 1 && JSON.parse(got[0].body).id === 'inv_1', got);
    await visit.close();
  },
  'what a link does not allow is not offered': async (all) => {
    const { visit, page, endpoint } = await customer(all, 'looks', { link: { capabilities: ['ViewBase'] }, statuses: [403] });
    const { id } = await endpoint('looked');
    await go(page, '#/deliveries');
    await go(page, '#/endpoints', '/looked');
    hold(!(await page.getByText(T('addEndpoint')).count()), 'adding is offered');
    for (const [tab, capability] of [['test', 'CreateAttempts'], ['settings', 'ManageEndpoint'], ['secret', 'ViewEndpointSecret'], ['recovery', 'CreateAttempts']]) {
      await go(page, `#/endpoints/${id}/${tab}`, T('needs', { capability }));
      hold(!(await page.getByRole('button', { name: new RegExp(`${T('save')}|${T('rotate')}|${T('sendTest')}|${T('countFirst')}|${T('disable')}`) }).count()), `${tab} offers more`);
    }
    await go(page, '#/endpoints/new', T('needs', { capability: 'ManageEndpoint' }));
    await visit.close();
  },
};
