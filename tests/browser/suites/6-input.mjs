// Bad input: shown as text, refused or cut; never run, and never a blank page.
import { readFileSync } from 'node:fs';
import { EMOJI, NASTY, T, world } from '../lib/data.mjs';
import { go, overflow, PHONE, settled } from '../lib/browser.mjs';
import { button, customer, hold, operator } from '../lib/customer.mjs';

export default {
  'markup in names, descriptions, payloads and responses is text': async (all) => {
    const { visit, page, data: { acme, messages, endpoints } } = await operator(all, { statuses: [404] });
    const title = await page.title();
    const quiet = async () => hold((await page.title()) === title, 'it was run');
    await go(page, '#/apps', NASTY.html);
    await quiet();
    await go(page, `#/app/${acme.id}/endpoints`, NASTY.html);
    await quiet();
    await go(page, `#/app/${acme.id}/messages/${messages[1].id}`, '<script>document.title');
    await page.locator('.card', { hasText: '/script' }).locator('summary').last().click();
    await settled(page);
    await page.getByText('<img src=x onerror="document.title=1">').first().waitFor();
    await quiet();
    await go(page, `#/app/${acme.id}/endpoints/${endpoints.script.id}`, '<img src=x');
    await quiet();
    hold(!(await page.locator('img[src=x]').count()), 'it became an element');
    await visit.close();
  },
  'a name of 256 emoji, and right-to-left text': async (all) => {
    const { visit, page, data: { odd } } = await operator(all, { size: PHONE });
    await go(page, '#/apps', NASTY.arabic);
    const direction = await page.getByRole('link', { name: NASTY.arabic }).evaluate((each) => getComputedStyle(each).direction);
    hold(direction === 'rtl', direction);
    await page.getByText(EMOJI.slice(0, 8)).first().waitFor();
    hold(!(await overflow(page)), await overflow(page));
    await go(page, `#/app/${odd.id}/endpoints`, T('noEndpoints'));
    hold(!(await overflow(page)), await overflow(page));
    await visit.close();
  },
  'a binary response is shown as bytes': async (all) => {
    const { visit, page, data: { acme, messages } } = await operator(all, { statuses: [404] });
    await go(page, `#/app/${acme.id}/messages/${messages[0].id}`);
    await page.locator('.card', { hasText: '/binary' }).locator('summary').last().click();
    await page.getByText('00 01 02 ff fe 80').waitFor();
    await visit.close();
  },
  'a large payload is cut, and whole in its download': async (all) => {
    const { visit, page, data: { acme, big } } = await operator(all);
    await go(page, `#/app/${acme.id}/messages/${big.id}`);
    const [file] = await Promise.all([page.waitForEvent('download'), page.locator('.note').getByRole('button', { name: T('download') }).click()]);
    hold(JSON.parse(readFileSync(await file.path(), 'utf8')).text.length === 900_000, 'the download is cut');
    hold((await page.locator('pre').first().innerText()).length < 150_000, 'all of it is drawn');
    await visit.close();
  },
  'a schema that refers to itself': async (all) => {
    const { visit, page } = await operator(all);
    await go(page, '#/types/user.created', T('seeAbove'));
    await go(page, `#/app/acme/event-types/user.created`, T('seeAbove'));
    await visit.close();
  },
  '`next` leads nowhere else, and an icon that is no https picture is left out': async (all) => {
    const { acme } = await world(all.stack, all.receivers);
    const { url } = await all.stack.linkTo(acme.id);
    const other = all.product.origin;
    const looks = `icon=${encodeURIComponent(`${other}/icon.png`)}&icon=${encodeURIComponent('javascript:alert(1)')}&primaryColor=red;x&fontFamily=${encodeURIComponent('a;b{}')}&darkMode=perhaps&lang=xx&unknown=1`;
    const visit = all.visitor();
    const page = await visit.open(url, { statuses: [404] });
    for (const next of ['https://example.com/', '//example.com', '/\\example.com', 'javascript:alert(1)', `${other}/`, '/../../etc', '/%00', '/endpoints/<script>']) {
      await page.goto(url.replace('#', `?next=${encodeURIComponent(next)}&${looks}#`));
      await settled(page);
      hold(new URL(page.url()).origin === all.stack.url, page.url());
      hold((await page.locator('main').innerText()).trim(), `${next}: blank`);
      hold(!(await page.locator('img').count()), `${next}: a picture`);
    }
    // One of ours does lead there.
    await page.goto(url.replace('#', '?next=/nowhere&next=/deliveries#'));
    await page.getByText(T('deliveriesSub')).waitFor();
    await visit.close();
  },
  'text of any kind in a form': async (all) => {
    const { visit, page, at, endpoint } = await customer(all, 'forms', { statuses: [422] });
    const { id } = await endpoint('forms');
    await go(page, `#/endpoints/${id}/settings`);
    await page.getByLabel(T('description'), { exact: true }).fill(`${NASTY.html} ${NASTY.arabic} ${EMOJI}`);
    await button('save', page).first().click();
    await page.getByText(T('saved')).waitFor();
    hold((await all.stack.api('GET', `${at}/endpoint/${id}`)).description.includes(EMOJI), 'it was changed');
    hold(!(await overflow(page)), await overflow(page));
    await visit.close();
  },
};
