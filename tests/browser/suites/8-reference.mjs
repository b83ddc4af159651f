// The API reference at /docs: read, searched, filled in, sent, copied.
import { execFile } from 'node:child_process';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { overflow, PHONE, violations } from '../lib/browser.mjs';
import { hold } from '../lib/customer.mjs';
import { eventually } from '../lib/stack.mjs';

const run = promisify(execFile);

/** Opens the reference, and waits until the document is shown. */
async function reference({ stack, visitor }, { hash = '', ...options } = {}) {
  const visit = visitor();
  const page = await visit.open(`${stack.url}/docs${hash}`, options);
  await page.locator('details.operation').first().waitFor({ state: 'attached' });
  return { visit, page };
}

/** Opens one operation. */
async function operation(page, id) {
  const all = page.locator(`details[id="${id}"]`);
  await all.locator('> summary').click();
  await all.locator('.trial').waitFor();
  return {
    all,
    field: (name) => all.locator(`input[id="${id}-${name}"]`),
    body: all.locator('textarea'),
    send: all.getByRole('button', { name: 'Send', exact: true }),
    language: (name) => all.getByRole('button', { name, exact: true }),
    sample: all.locator('.sample'),
    result: all.locator('.result'),
  };
}

const token = (page) => page.getByLabel('Token', { exact: true });
const calls = (visit, method) => visit.requests.filter((one) => one.method === method && one.url.includes('/api/v1/app')).length;

export default {
  'every operation is readable, with an example, three samples and its responses': async (all) => {
    const { visit, page } = await reference(all);
    await page.evaluate(() => document.querySelectorAll('details.operation').forEach((one) => (one.open = true)));
    // Each is filled when it opens.
    await page.waitForFunction(() => [...document.querySelectorAll('details.operation')].every((one) => one.children.length > 1));
    const { ids, wrong, bodies, examples, trials } = await page.evaluate(() => {
      const details = [...document.querySelectorAll('details.operation')];
      const areas = [...document.querySelectorAll('textarea')];
      return {
        ids: details.length,
        wrong: details.filter((one) => /\[object|undefined|NaN/.test(one.textContent)).map((one) => one.id),
        bodies: areas.length,
        examples: areas.filter((one) => JSON.parse(one.value)).length,
        trials: [...document.querySelectorAll('.sample')].filter((one) => /\/api\/v1\/|\/\.well-known\//.test(one.textContent)).length,
      };
    });
    hold(ids > 50 && !wrong.length, { ids, wrong });
    hold(bodies > 20 && examples === bodies, { bodies, examples });
    hold(trials === ids - 1, { trials, ids }); // All but the page itself.
    const shown = page.locator('details[id="v1.message.create"] .answer', { hasText: '202' });
    await shown.locator('summary').first().click();
    hold((await shown.innerText()).includes('"eventId": "inv_1-paid"'), 'a response has no example');
    await visit.close();
  },
  'authentication and paging are explained, and the menu leads there; in the dark, too, all is legible': async (all) => {
    const { visit, page } = await reference(all, { hash: '#v1.message.create', scheme: 'dark' });
    await page.locator('.trial').waitFor();
    hold(!(await violations(page)).length, await violations(page));
    for (const title of ['Authentication', 'Paging', 'Repeating a request', 'Errors']) {
      await page.getByRole('heading', { name: title, exact: true }).first().waitFor();
    }
    await page.locator('#menu').getByRole('link', { name: 'Paging', exact: true }).click();
    await eventually('it is shown', () => page.locator('#paging').evaluate((each) => each.getBoundingClientRect().top < innerHeight / 2));
    await visit.close();
  },
  'search filters operations and menu, and leaves fields alone': async (all) => {
    const { visit, page } = await reference(all);
    await page.keyboard.press('/');
    await page.keyboard.type('rotate secret');
    const menu = page.locator('#menu a:visible[href^="#v1."]');
    await eventually('the menu', async () => (await menu.count()) < 5);
    hold((await menu.allInnerTexts()).some((text) => text.includes('Rotate an endpoint\'s signing secret')), await menu.allInnerTexts());
    hold((await page.locator('details.operation:visible').count()) === (await menu.count()), 'menu and page differ');
    await page.getByLabel('Search').fill('nothing is called so');
    await page.getByText('No results.').waitFor();
    await token(page).fill('');
    await token(page).press('/');
    hold((await token(page).inputValue()) === '/', 'the search took what was typed elsewhere');
    await visit.close();
  },
  'on a phone the menu opens, leads to an operation and closes; nothing is too wide': async (all) => {
    const { visit, page } = await reference(all, { size: PHONE });
    const menu = page.locator('#menu');
    hold(!(await menu.isVisible()), 'the menu covers the page');
    await page.getByRole('button', { name: 'Menu' }).click();
    await menu.locator('a[href="#v1.message.create"]').click();
    await menu.waitFor({ state: 'hidden' });
    const details = page.locator('details[id="v1.message.create"]');
    await details.locator('.trial').waitFor();
    await eventually('it is in view', () => details.evaluate((each) => each.getBoundingClientRect().top < innerHeight));
    hold(!(await overflow(page)), await overflow(page));
    hold(!(await violations(page)).length, await violations(page));
    await visit.close();
  },
  'an operation is sent with the token in the field, which is kept nowhere': async (all) => {
    const { visit, page } = await reference(all);
    const create = await operation(page, 'v1.application.create');
    await create.send.click();
    await create.result.getByText('Put a token').waitFor();
    hold(await token(page).evaluate((each) => each === document.activeElement), 'the token\'s field is not shown');
    hold(calls(visit, 'POST') === 0, 'it was sent without a token');
    await token(page).fill(all.stack.token);
    await create.body.fill('{"name": "By the reference", "uid": "reference"}');
    await create.send.click();
    await create.result.getByText('201').waitFor();
    await create.result.getByText('"uid": "reference"').waitFor();
    hold((await all.stack.api('GET', '/app/reference')).name === 'By the reference', 'it is not there');
    const kept = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href]));
    hold(!kept.includes(all.stack.token) && !(await page.locator('main').innerText()).includes(all.stack.token), 'the token is kept or shown');
    await page.reload();
    hold((await token(page).inputValue()) === '', 'the token survives the page');
    await visit.close();
  },
  'what is wrong is said before anything is sent': async (all) => {
    const { visit, page } = await reference(all);
    await token(page).fill(all.stack.token);
    const create = await operation(page, 'v1.application.create');
    await create.body.fill('{"name": ');
    await create.send.click();
    await create.result.getByText('The body is not valid JSON').waitFor();
    // A browser would take `..` out of the path: it would be another operation's.
    const remove = await operation(page, 'v1.endpoint.delete');
    await remove.send.click();
    await remove.result.getByText('Fill in app_id.').waitFor();
    await remove.field('app_id').fill('acme');
    for (const name of ['..', '.']) {
      await remove.field('endpoint_id').fill(name);
      await remove.send.click();
      await remove.result.getByText('cannot stand in a path').waitFor();
    }
    await token(page).fill('two words');
    await remove.field('endpoint_id').fill('a/b?c');
    await remove.send.click();
    await remove.result.getByText('no token has').waitFor();
    hold(calls(visit, 'POST') + calls(visit, 'DELETE') === 0, visit.requests);
    await visit.close();
  },
  'an error of the API is shown; DELETE asks first': async (all) => {
    const app = await all.stack.api('POST', '/app', { name: 'To be deleted', uid: 'reference-delete' });
    const { visit, page } = await reference(all, { statuses: [404] });
    await token(page).fill(all.stack.token);
    const get = await operation(page, 'v1.application.get');
    await get.field('app_id').fill('a/../b?c#d');
    await get.send.click();
    await get.result.getByText('404').waitFor();
    hold(visit.requests.at(-1).url.endsWith('/api/v1/app/a%2F..%2Fb%3Fc%23d'), visit.requests.at(-1));
    const remove = await operation(page, 'v1.application.delete');
    await remove.field('app_id').fill('reference-delete');
    page.once('dialog', (dialog) => dialog.dismiss());
    await remove.send.click();
    await remove.result.getByText('Not sent.').waitFor();
    hold((await all.stack.api('GET', '/app/reference-delete')).id === app.id, 'it is gone');
    page.once('dialog', (dialog) => dialog.accept());
    await remove.send.click();
    await remove.result.getByText('204').waitFor();
    await visit.close();
  },
  'the samples do what Send does: curl, Python and JavaScript, quotes and all': async (all) => {
    await all.stack.api('POST', '/app', { name: 'Samples', uid: 'samples' });
    const { visit, page } = await reference(all);
    const message = await operation(page, 'v1.message.create');
    await message.field('app_id').fill('samples');
    const folder = await mkdtemp(path.join(tmpdir(), 'samples-'));
    const programs = {
      curl: (file) => ['bash', [file]],
      Python: (file) => ['python3', [file]],
      JavaScript: (file) => ['node', [file]],
    };
    for (const [language, program] of Object.entries(programs)) {
      const payload = { text: 'it\'s "quoted" / ü $HOME `id` \\ \u2028 </script>', 'true': true, none: null, list: [false, 1.5] };
      await message.body.fill(JSON.stringify({ eventType: 'invoice.paid', eventId: `sample-${language}`, payload }, null, 2));
      await message.language(language).click();
      await eventually(language, async () => (await message.sample.innerText()).includes(`sample-${language}`));
      const file = path.join(folder, `sample${language === 'JavaScript' ? '.mjs' : ''}`);
      await writeFile(file, await message.sample.locator('code').textContent());
      const [command, words] = program(file);
      await run(command, words, { env: { PATH: process.env.PATH, TOKEN: all.stack.token }, timeout: 30_000 });
      const sent = await all.stack.api('GET', `/app/samples/msg/sample-${language}`);
      hold(JSON.stringify(sent.payload) === JSON.stringify(payload), { language, sent });
    }
    await visit.close();
  },
};
