// A large application: 200 endpoints, 2,000 event types, 10,000 deliveries of one endpoint. Nothing is fetched that
// is not shown, nothing stalls; times are printed, and only generous ceilings asserted.
import { randomUUID } from 'node:crypto';
import { T } from '../lib/data.mjs';
import { go, settled } from '../lib/browser.mjs';
import { hold } from '../lib/customer.mjs';
import { eventually, Stack } from '../lib/stack.mjs';

const ENDPOINTS = 200;
const TYPES = 2000;
const DELIVERIES = 10_000;
const BATCH = 50;
/** How often a time is measured. */
const TURNS = 5;
/** Nobody waits longer than that, in milliseconds, on the slowest machine. */
const CEILING = 5000;
const LONG_TASK = 200;

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** Does `work` for each number, several at a time. */
async function each(count, work, several = 16) {
  let next = 0;
  await Promise.all(Array.from({ length: several }, async () => {
    while (next < count) await work(next++);
  }));
}

/** Posts until it is taken, as the SDKs do: a busy machine answers 503, and a kept connection may have been closed. */
async function post(stack, path, body) {
  const headers = { authorization: `Bearer ${stack.token}`, 'content-type': 'application/json', 'idempotency-key': randomUUID() };
  return eventually(path, async () => {
    const answer = await fetch(`${stack.url}/api/v1${path}`, { method: 'POST', headers, body: JSON.stringify(body) }).catch(() => null);
    if (!answer) return false;
    const text = await answer.text();
    if (answer.status >= 300 && answer.status < 500 && answer.status !== 409) throw new Error(`${path}: ${answer.status} ${text}`);
    return answer.status < 300 && JSON.parse(text);
  }, 120_000);
}

let made;
function large(all) {
  made ||= (async () => {
    const begun = Date.now();
    const stack = await Stack.start(all.program);
    all.later(() => stack.stop());
    await post(stack, '/app', { name: 'Small', uid: 'small' });
    await post(stack, '/event-type', { name: 'few.one', description: 'One' });
    const few = await post(stack, '/app/small/endpoint', { url: `${all.receivers.url}/small`, eventTypes: ['few.one'] });
    await each(TYPES, (n) => post(stack, '/event-type', { name: `group${n % 40}.type${n}`, description: `Number ${n}`, schemas: { 1: { type: 'object', properties: { [`only_in_${n}`]: { type: 'string' } } } } }));
    await each(10, (n) => post(stack, '/app/small/msg', { eventType: 'few.one', payload: { n } }));
    await post(stack, '/app', { name: 'Large', uid: 'large' });
    const one = await post(stack, '/app/large/endpoint', { url: `${all.receivers.url}/large` });
    await each(DELIVERIES / BATCH, (n) => post(stack, '/app/large/msg/batch', { messages: Array.from({ length: BATCH }, (_, m) => ({ eventType: `group${m % 40}.type${m}`, payload: { n, m } })) }), 4);
    // Those that come later get nothing of it.
    await each(ENDPOINTS - 1, (n) => post(stack, '/app/large/endpoint', { url: `${all.receivers.url}/large-${n}`, description: `Number ${n}` }));
    await eventually('all deliveries', () => new Set(all.receivers.got.filter(({ path }) => path === '/large').map(({ headers }) => headers['webhook-id'])).size >= DELIVERIES, 240_000);
    all.report.push(`${TYPES} event types, ${DELIVERIES} deliveries and ${ENDPOINTS} endpoints are made in ${((Date.now() - begun) / 1000).toFixed(0)} s`);
    return { stack, few: few.id, one: one.id };
  })();
  return made;
}

/** Notes when the first row is there, and what takes long. */
const watch = () => {
  window.long = [];
  new PerformanceObserver((list) => window.long.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask', buffered: true });
  const look = () => {
    if (document.querySelector('main tbody a')) window.first = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
};

/** From the first byte of the shell to the first row. */
async function time(all, stack, link, route) {
  const times = [];
  for (let turn = 0; turn < TURNS; turn += 1) {
    const visit = all.visitor(stack);
    const page = await visit.open(link.replace('#', `?next=${encodeURIComponent(route)}#`), { before: watch });
    times.push(await (await page.waitForFunction(() => window.first && window.first - performance.getEntriesByType('navigation')[0].responseStart)).jsonValue());
    await settled(page);
    await visit.close();
  }
  return median(times);
}

export const alone = true;

export default {
  'nothing is fetched that is not shown': async (all) => {
    const { stack, one } = await large(all);
    const link = (await stack.linkTo('large')).url;
    const visit = all.visitor(stack);
    const page = await visit.open(link);
    await settled(page);
    const asked = () => visit.requests.filter(({ url }) => url.includes('/api/v1/'));
    const rows = await page.locator('main tbody tr').count();
    const seen = await page.locator('main tbody tr').evaluateAll((list) => list.filter((row) => row.getBoundingClientRect().top < innerHeight + 100).length);
    const stats = asked().filter(({ url }) => url.includes('/stats/')).length;
    all.report.push(`${ENDPOINTS} endpoints: ${rows} rows at first, ${asked().length} requests for the ${seen} that are seen`);
    hold(rows <= 50 && stats <= seen && asked().length <= 2 * seen + 8, asked().map(({ url }) => url));
    visit.requests.splice(0);
    await go(page, `#/endpoints/${one}/deliveries`);
    hold(asked().length < 60 && asked().filter(({ url }) => url.includes('/msg?')).length === 1, asked().map(({ url }) => url));
    visit.requests.splice(0);
    await go(page, '#/event-types');
    const types = asked().filter(({ url }) => url.includes('/event-type?'));
    hold(types.every(({ url }) => url.includes('with_content=false')), 'schemas of all types are asked for');
    all.report.push(`${TYPES} event types: ${types.length} requests for their names, ${asked().length - types.length} for the one that is shown`);
    await page.getByRole('searchbox').fill('type1999');
    await page.getByRole('link', { name: 'group39.type1999' }).click();
    await page.getByText('only_in_1999').waitFor();
    await visit.close();
  },
  'a list of 10,000 deliveries scrolls without a stall': async (all) => {
    const { stack, one } = await large(all);
    const visit = all.visitor(stack);
    const page = await visit.open((await stack.linkTo('large')).url.replace('#', `?next=/endpoints/${one}/deliveries#`), { before: watch });
    await settled(page);
    const count = () => page.locator('main tbody tr').count();
    const begun = Date.now();
    await page.mouse.move(700, 400);
    let rows = await count();
    let last = 0;
    while (rows > last || (await page.getByRole('button', { name: T('more') }).count())) {
      last = rows;
      await page.mouse.wheel(0, 6000);
      await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
      rows = await eventually('more rows', async () => {
        const now = await count();
        return (now > last || !(await page.getByRole('button', { name: T('more') }).count())) && now;
      });
    }
    const long = await page.evaluate(() => window.long);
    all.report.push(`scrolled through ${rows} deliveries in ${((Date.now() - begun) / 1000).toFixed(1)} s; the longest task took ${Math.round(Math.max(0, ...long))} ms`);
    hold(rows === DELIVERIES, `${rows} rows`);
    hold(Math.max(0, ...long) <= LONG_TASK, `tasks of ${long.map(Math.round)} ms`);
    await visit.close();
  },
  'from the shell to the list': async (all) => {
    const { stack, few, one } = await large(all);
    for (const [uid, endpoint, count] of [['small', few, 10], ['large', one, DELIVERIES]]) {
      const { url } = await stack.linkTo(uid);
      for (const [name, route] of [['endpoints', '/endpoints'], ['deliveries', `/endpoints/${endpoint}/deliveries`]]) {
        const ms = await time(all, stack, url, route);
        all.report.push(`from the shell to the list of ${name}, an application with ${count} deliveries: ${Math.round(ms)} ms (the median of ${TURNS})`);
        hold(ms < CEILING, `${ms} ms`);
      }
    }
  },
};
