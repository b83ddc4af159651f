// For all people: by keyboard alone, in six languages, without motion.
import { readdirSync, readFileSync } from 'node:fs';
import { T, routes, texts, world } from '../lib/data.mjs';
import { go, settled } from '../lib/browser.mjs';
import { customer, dialog, hold } from '../lib/customer.mjs';
import { eventually } from '../lib/stack.mjs';

const LANGUAGES = ['en', 'de', 'fr', 'es', 'pt-BR', 'ja'];
const app = new URL('../../../functions/portal/app/', import.meta.url);

/** Presses a key until what has the focus has that name, as a person without a mouse does. */
async function reach(page, name, key = 'Tab', most = 120) {
  const passed = [];
  for (let turn = 0; turn < most; turn += 1) {
    await page.keyboard.press(key);
    const now = await page.evaluate(() => {
      const at = document.activeElement;
      const label = at.labels?.[0]?.innerText;
      const { outlineStyle, boxShadow } = getComputedStyle(at);
      return { name: (at.getAttribute('aria-label') || label || at.innerText || '').trim().replaceAll('\n', ' '), shown: outlineStyle !== 'none' || boxShadow !== 'none', tag: at.tagName };
    });
    if (now.name === name) {
      hold(now.shown || ['BODY', 'MAIN'].includes(now.tag), `the focus on "${name}" cannot be seen`);
      return;
    }
    passed.push(now.name);
  }
  throw new Error(`no "${name}" is reached by ${key}; passed: ${[...new Set(passed)].join(' | ')}`);
}

/** Texts of a page that are no texts: keys, values that are missing. */
function raw(page, keys) {
  return page.evaluate((known) => {
    const found = [];
    const look = (text, where) => {
      for (const word of (text || '').split(/\s+/)) if (known.includes(word.replace(/[:.,…]$/, ''))) found.push(`${where}: ${word}`);
      if (/\b(undefined|NaN)\b|\[object |\{[a-z]+\}/.test(text)) found.push(`${where}: ${text.slice(0, 80)}`);
    };
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) if (!walker.currentNode.parentElement.closest('pre, textarea, script, .mono, dialog pre, time, td, .list, noscript')) look(walker.currentNode.data, 'text');
    for (const each of document.querySelectorAll('[aria-label], [title], [placeholder]')) for (const name of ['aria-label', 'title', 'placeholder']) look(each.getAttribute(name), name);
    return [...new Set(found)];
  }, keys);
}

export default {
  'six catalogues have the same keys, with the same values in them': async () => {
    const english = await texts('en');
    const values = (text) => [...new Set(text.match(/\{\w+\}/g) || [])].sort().join();
    const problems = [];
    for (const language of LANGUAGES) {
      const catalogue = await texts(language.toLowerCase());
      for (const key of new Set([...Object.keys(english), ...Object.keys(catalogue)])) {
        if (!(key in catalogue) || !(key in english)) problems.push(`${language}: ${key} is in one alone`);
        else if (!catalogue[key].trim()) problems.push(`${language}: ${key} is empty`);
        else if (values(catalogue[key]) !== values(english[key])) problems.push(`${language}: ${key} has other values`);
        // Words of more than a few letters are the same in two languages now and then, sentences are not.
        else if (language !== 'en' && catalogue[key] === english[key] && english[key].split(' ').length > 3) problems.push(`${language}: ${key} is in English`);
      }
    }
    // Each text that the scripts ask for is there.
    const asked = readdirSync(app).filter((name) => name.endsWith('.js') && !name.startsWith('text-')).flatMap((name) => [...readFileSync(new URL(name, app), 'utf8').matchAll(/\bt\('([\w.-]+)'[,)]/g)].map((match) => match[1]));
    hold(asked.length > 200, `${asked.length} texts are asked for`);
    problems.push(...asked.filter((key) => !(key in english)).map((key) => `${key} is asked for and nowhere`));
    hold(!problems.length, problems.join('\n'));
  },
  'in six languages no key is shown, and nothing is missing': async (all) => {
    const data = await world(all.stack, all.receivers);
    const english = await texts('en');
    // Keys that are no words of any language: camelCase, or with an underscore.
    const keys = Object.keys(english).filter((key) => /[a-z][A-Z]|_/.test(key));
    const problems = [];
    for (const language of LANGUAGES) {
      const visit = all.visitor();
      const page = await visit.open(all.stack.link.replace('#', `?lang=${language}#`));
      await settled(page);
      hold((await page.locator('html').getAttribute('lang')) === language, `${language} is not taken`);
      const catalogue = await texts(language.toLowerCase());
      await page.getByRole('heading', { name: catalogue.applications, exact: true }).waitFor();
      for (const [name, route] of routes('operator', data)) {
        await go(page, route);
        problems.push(...(await raw(page, keys)).map((one) => `${language}, ${name}: ${one}`));
      }
      await visit.close();
    }
    hold(!problems.length, problems.join('\n'));
  },
  'the browser\'s language is taken, the link\'s before it': async (all) => {
    const { acme } = await world(all.stack, all.receivers);
    const { url } = await all.stack.linkTo(acme.id);
    for (const [locale, asked, shown] of [['de-AT', '', 'de'], ['pt-PT', '', 'pt-BR'], ['sv-SE', '', 'en'], ['de-DE', 'ja', 'ja'], ['fr-FR', 'klingon', 'fr']]) {
      const visit = all.visitor();
      const page = await visit.open(asked ? url.replace('#', `?lang=${asked}#`) : url, { locale });
      await page.getByRole('heading', { name: (await texts(shown.toLowerCase())).endpoints, exact: true }).waitFor();
      await visit.close();
    }
  },
  'by keyboard alone: an endpoint is added, tested, looked at, deleted': async (all) => {
    const { visit, page, at } = await customer(all, 'keyboard');
    const press = (key) => page.keyboard.press(key);
    await reach(page, T('skip'));
    await press('Enter');
    await reach(page, T('addEndpoint'));
    await press('Enter');
    await settled(page);
    await reach(page, T('url'));
    await page.keyboard.type(`${all.receivers.url}/keyboard`);
    await reach(page, 'Billing');
    await press('Space');
    await reach(page, T('addEndpoint'));
    await press('Enter');
    await page.getByRole('heading', { name: T('testSend') }).waitFor();
    await settled(page);
    await reach(page, T('sendTest'));
    await press('Enter');
    await page.getByText('thank you').waitFor();
    const { data } = await all.stack.api('GET', `${at}/endpoint`);
    hold(data.length === 1 && data[0].eventTypes.length === 2, data);
    // Shortcuts: to the deliveries, into the first message, back.
    await press('g');
    await press('d');
    await page.getByRole('heading', { name: T('deliveries'), exact: true }).waitFor();
    await settled(page);
    await press('/');
    hold((await page.evaluate(() => document.activeElement.getAttribute('aria-label'))) === T('jumpTo'), 'the search has no focus');
    await press('Control+k');
    await dialog(page).waitFor();
    await page.keyboard.type(T('live').slice(0, 3));
    await press('Enter');
    await page.getByRole('heading', { name: T('live'), exact: true }).waitFor();
    await dialog(page).waitFor({ state: 'detached' });
    // The list of shortcuts: Escape closes it, and the focus is where it was.
    await press('?');
    await dialog(page).waitFor();
    await press('Escape');
    await dialog(page).waitFor({ state: 'detached' });
    await press('g');
    await press('e');
    await page.getByRole('heading', { name: T('endpoints'), exact: true }).waitFor();
    await settled(page);
    await page.evaluate(() => document.querySelector('main').focus());
    const row = (await page.locator('main td a').first().innerText()).trim();
    await reach(page, row);
    await press('Enter');
    await page.waitForURL(`**/endpoints/${data[0].id}`);
    await settled(page);
    await reach(page, T('delete'));
    await press('Enter');
    await dialog(page).waitFor();
    hold(await page.evaluate(() => document.querySelector('dialog').contains(document.activeElement)), 'the focus is not in the dialog');
    await press('Escape');
    await dialog(page).waitFor({ state: 'detached' });
    hold((await page.evaluate(() => document.activeElement.getAttribute('aria-label'))) === T('delete'), 'the focus does not come back');
    await press('Enter');
    await dialog(page).waitFor();
    await reach(page, T('delete'));
    await press('Enter');
    await eventually('it is gone', async () => !(await all.stack.api('GET', `${at}/endpoint`)).data.length);
    await visit.close();
  },
  'nothing moves where somebody asks for that': async (all) => {
    const { visit, page, endpoint, send } = await customer(all, 'still');
    await endpoint('still');
    await go(page, '#/live');
    await send({}, { eventType: 'still.one' });
    await page.getByText('still.one').first().waitFor();
    await page.keyboard.press('Control+k');
    await dialog(page).waitFor();
    const moving = await page.evaluate(() => [...document.querySelectorAll('*')].filter((each) => {
      const { animationName, animationDuration, transitionDuration } = getComputedStyle(each);
      const long = (text) => text.split(',').some((one) => parseFloat(one) > 0.01);
      return (animationName !== 'none' && long(animationDuration)) || long(transitionDuration);
    }).map((each) => each.outerHTML.slice(0, 100)));
    hold(!moving.length, moving);
    await visit.close();
  },
  'storage that is blocked: the page works, and keeps the token in memory': async (all) => {
    const { acme } = await world(all.stack, all.receivers);
    const visit = all.visitor();
    const page = await visit.open((await all.stack.linkTo(acme.id)).url, { before: () => Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('blocked', 'SecurityError'); } }) });
    await settled(page);
    await go(page, '#/deliveries', 'invoice.paid');
    await visit.close();
  },
};
