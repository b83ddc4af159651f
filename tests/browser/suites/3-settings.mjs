// What an endpoint wants, how it is retried, and one that is polled: each with its effect checked through the API.
import { T, begins } from '../lib/data.mjs';
import { go, settled, violations } from '../lib/browser.mjs';
import { button, card, customer, dialog, field, hold } from '../lib/customer.mjs';
import { eventually } from '../lib/stack.mjs';

const unfold = (page) => page.getByText(T('advanced'), { exact: true }).click();

export default {
  'a payload filter is tried while it is written, refused with the place, kept and shown': async (all) => {
    const { visit, page, at, send } = await customer(all, 'filters', { statuses: [422] });
    await go(page, '#/endpoints/new');
    await field('url', page).fill(`${all.receivers.url}/filtered`);
    await page.getByRole('checkbox', { name: 'invoice.paid' }).check();
    await unfold(page);
    const filter = field('filter', page);
    // What the page can see itself, and what only the server knows, with the place.
    await filter.fill('{"amount": [');
    await page.getByText(begins('notJson')).waitFor();
    hold(await button('addEndpoint', page).isDisabled(), 'it can be added');
    await filter.fill('{"amount": [{"numric": [">", 5]}]}');
    await page.getByText('amount.0: There is no rule "numric"').waitFor();
    await filter.fill('{"amount": [{"numeric": [">", 500]}], "id": ["inv_1"]}');
    // The example of the event type is what it is tried on first.
    const example = field('filterTry', page);
    await eventually('the example', async () => (await example.inputValue()).includes('"amount": 100'));
    await page.getByText(T('filterNo')).waitFor();
    await page.getByText('is 100, must be a number > 500').waitFor();
    hold(!(await page.getByText('is "inv_1"').count()), 'a field that matches is listed');
    await example.fill('{"id": "inv_1", "amount": 501}');
    await page.getByText(T('filterYes')).waitFor();
    await example.fill('[]');
    await page.getByText(T('mustObject')).waitFor();
    hold(!(await violations(page)).length, await violations(page));
    await button('addEndpoint', page).click();
    await page.waitForURL('**/test');
    const { data: [made] } = await all.stack.api('GET', `${at}/endpoint`);
    hold(JSON.stringify(made.filter) === '{"amount":[{"numeric":[">",500]}],"id":["inv_1"]}', made);
    await send({ id: 'inv_1', amount: 7 });
    const wanted = await send({ id: 'inv_1', amount: 900 });
    await eventually('the delivery', () => all.receivers.ids('/filtered').has(wanted.id));
    hold(all.receivers.ids('/filtered').size === 1, 'the other one came as well');
    // Shown, changed as text, digit by digit, and cleared.
    await go(page, `#/endpoints/${made.id}`, '"numeric"');
    await go(page, `#/endpoints/${made.id}/settings`);
    await filter.fill('{"n": [12345678901234567890]}');
    await button('save', page).first().click();
    await eventually('it is changed', async () => (await all.stack.ask('GET', `${at}/endpoint/${made.id}`)).text.includes('12345678901234567890'));
    await settled(page);
    await go(page, `#/endpoints/${made.id}`, '12345678901234567890');
    await go(page, `#/endpoints/${made.id}/settings`);
    hold((await filter.inputValue()).includes('12345678901234567890'), await filter.inputValue());
    await filter.fill('');
    await button('save', page).first().click();
    await eventually('it is cleared', async () => !(await all.stack.api('GET', `${at}/endpoint/${made.id}`)).filter);
    await visit.close();
  },
  'a retry policy is set as a list or as waits that double, refused with a reason, shown and cleared': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'policies', { statuses: [422] });
    const { id } = await endpoint('policy');
    const now = async () => (await all.stack.api('GET', `${at}/endpoint/${id}`)).retryPolicy;
    const save = () => button('save', page).first().click();
    await go(page, `#/endpoints/${id}`, T('retries_usual'));
    await go(page, `#/endpoints/${id}/settings`);
    await unfold(page);
    await field('retries', page).selectOption('list');
    await field('schedule', page).fill('10, soon');
    await save();
    await page.getByText('schedule: Invalid type').waitFor();
    await field('schedule', page).fill('10, 60, 7200');
    await save();
    await eventually('the list', async () => (await now())?.schedule?.join() === '10,60,7200');
    await go(page, `#/endpoints/${id}`, '10 seconds, 1 minute, 2 hours (± 20%)');
    await go(page, `#/endpoints/${id}/settings`);
    await field('retries', page).selectOption('double');
    await field('attempts', page).fill('8');
    await field('minSeconds', page).fill('90');
    await field('maxSeconds', page).fill('5');
    await field('jitter', page).fill('0');
    await save();
    await page.getByText('maxSeconds: Must not be less than minSeconds').waitFor();
    await field('maxSeconds', page).fill('3600');
    await save();
    await eventually('waits that double', async () => JSON.stringify(await now()) === '{"attempts":8,"minSeconds":90,"maxSeconds":3600,"jitter":0}');
    await go(page, `#/endpoints/${id}`, T('doubling', { n: 8, min: '90 seconds', max: '1 hour' }).split('|')[1]);
    await go(page, `#/endpoints/${id}/settings`);
    await field('retries', page).selectOption('list');
    await field('schedule', page).fill('');
    await save();
    await eventually('no retry', async () => (await now())?.schedule?.length === 0);
    await go(page, `#/endpoints/${id}`, T('noRetry'));
    await go(page, `#/endpoints/${id}/settings`);
    await field('retries', page).selectOption('');
    await save();
    await eventually('it is cleared', async () => !(await now()));
    await visit.close();
  },
  'an endpoint that is polled is made, shown by its kind, and polled with a key that is made and revoked': async (all) => {
    const { visit, page, at, send } = await customer(all, 'polled', { statuses: [404] });
    await go(page, '#/endpoints/new');
    await button('kind_polling', page).click();
    await page.getByText(T('pollAbout')).waitFor();
    await unfold(page);
    // Nothing is sent: there is no URL, no secret, no header, no limit, no retry.
    for (const key of ['url', 'ownSecret', 'rateLimit', 'retries']) hold(!(await field(key, page).count()), `${key} is offered`);
    hold(!(await page.getByText(T('headers'), { exact: true }).count()), 'headers are offered');
    await field('filter', page).fill('{"id": ["wanted"]}');
    await page.getByRole('checkbox', { name: 'invoice.paid' }).check();
    await button('addEndpoint', page).click();
    await page.getByRole('heading', { name: T('pollKey'), exact: true }).waitFor();
    const { data: [made] } = await all.stack.api('GET', `${at}/endpoint`);
    hold(made.destination.kind === 'polling' && made.filter.id[0] === 'wanted' && made.eventTypes.join() === 'invoice.paid', made);
    for (const tab of ['test', 'secret', 'recovery', 'deliveries']) hold(!(await page.getByRole('link', { name: T(`tab_${tab}`), exact: true }).locator('visible=true').and(page.locator('.tabs a')).count()), `${tab} is offered`);
    // A route that it does not have shows the endpoint.
    await go(page, `#/endpoints/${made.id}/test`, T('pollHow'));
    // There is no key before somebody makes one.
    await button('reveal', page).click();
    await page.getByText(T('noKey')).waitFor();
    await button('newKey', page).click();
    await dialog(page).getByLabel(T('expires'), { exact: true }).selectOption('86400');
    await button('newKey', dialog(page)).click();
    const shown = field('pollKey', page);
    await eventually('the key', async () => /^sk_poll_/.test(await shown.inputValue()));
    const key = await shown.inputValue();
    await page.getByText(`${T('expires')}:`).waitFor();
    const curl = await page.getByRole('region', { name: 'curl' }).innerText();
    const [, url] = /curl "(\S+)"/.exec(curl);
    hold(curl.includes(`KEY=${key}`), curl);
    const ask = async (iterator) => {
      const answer = await fetch(url + (iterator ? `?iterator=${iterator}` : ''), { headers: { authorization: `Bearer ${key}` } });
      return { status: answer.status, ...(await answer.json()) };
    };
    await send({ id: 'other' });
    const wanted = await send({ id: 'wanted' });
    const { iterator } = await ask();
    hold((await ask(iterator)).data.map((one) => one.id).join() === wanted.id, 'the curl gets something else');
    await button('pollNow', page).click();
    await page.getByText(wanted.id).waitFor();
    hold(!(await violations(page)).length, await violations(page));
    // Where others have an address, it has its kind; nothing is counted for it.
    const begun = visit.requests.length;
    await go(page, '#/endpoints', T('kind_polling'));
    await settled(page);
    hold(!visit.requests.slice(begun).some(({ url }) => /stats|attempt/.test(url)), 'attempts are asked for');
    await go(page, '#/recovery', T('chooseEndpoint'));
    hold(!(await card(page, 'chooseEndpoint').getByText(T('kind_polling')).count()), 'it can be recovered');
    // Its settings say nothing of what is sent.
    await go(page, `#/endpoints/${made.id}/settings`);
    hold(!(await page.getByText(T('headersHint')).count()), 'headers are offered');
    await field('description', page).fill('A worker');
    await button('save', page).click();
    await eventually('it is changed', async () => (await all.stack.api('GET', `${at}/endpoint/${made.id}`)).description === 'A worker');
    await go(page, `#/endpoints/${made.id}`);
    await button('revokeKeys', page).click();
    await button('revokeKeys', dialog(page)).click();
    await page.getByText(T('noKey')).waitFor();
    hold((await ask()).status === 401, 'the key still polls');
    await visit.close();
  },
  'HTTP message signatures: the setting, and which keys verify what': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'signs-messages');
    const { id } = await endpoint('signs-messages');
    const box = () => page.getByRole('checkbox', { name: T('headerStyle') });
    const { envId } = await all.stack.api('GET', '/auth/whoami');
    const keys = `/.well-known/jwks.json?org=${envId}`;
    for (const wanted of [true, false]) {
      await go(page, `#/endpoints/${id}/settings`);
      // Where it is set, nothing has to be unfolded to see it.
      if (wanted) await unfold(page);
      await box().setChecked(wanted);
      hold(!(await violations(page)).length, await violations(page));
      await button('save', page).first().click();
      await eventually('it is set', async () => (await all.stack.api('GET', `${at}/endpoint/${id}`)).headerStyle === (wanted ? 'rfc9421' : undefined));
      await go(page, `#/endpoints/${id}`);
      await settled(page);
      hold((await page.getByText(keys).count()) === (wanted ? 1 : 0), 'the page says something else');
    }
    const url = all.stack.url + keys;
    hold((await (await fetch(url)).json()).keys.length === 1, 'there are no keys where the page says');
    await visit.close();
  },
  'an endpoint that comes back by itself: the setting, the next try, and what it missed': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'comes-back');
    const { id } = await endpoint('comes-back');
    const now = async () => (await all.stack.api('GET', `${at}/endpoint/${id}`)).autoEnable || false;
    await go(page, `#/endpoints/${id}/settings`);
    await unfold(page);
    for (const wanted of [true, false]) {
      await page.getByRole('checkbox', { name: T('autoEnable') }).setChecked(wanted);
      hold(!(await violations(page)).length, await violations(page));
      await button('save', page).first().click();
      await eventually('it is set', async () => (await now()) === wanted);
      await settled(page);
      if (wanted) hold(await page.getByRole('checkbox', { name: T('autoEnable') }).isChecked(), 'it is not shown');
    }
    // What takes hours to happen is answered in the server's place.
    const told = async (more, shows) => {
      await page.unrouteAll();
      await page.route(`**/endpoint/${id}`, async (route) => {
        const answer = await route.fetch();
        await route.fulfill({ response: answer, json: { ...(await answer.json()), ...more } });
      });
      await page.reload();
      await page.getByText(begins(shows)).waitFor();
    };
    await go(page, `#/endpoints/${id}`);
    await told({ disabled: true, nextProbe: '2026-01-20T09:00:00Z' }, 'probeAt');
    await told({ missedSince: '2026-01-15T08:00:00Z' }, 'missedSince');
    hold(!(await violations(page)).length, await violations(page));
    await page.locator('.note').getByRole('link', { name: T('tab_recovery'), exact: true }).click();
    await page.waitForURL('**/recovery');
    await visit.close();
  },
};
