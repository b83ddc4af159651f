// A large application: 200 endpoints, 2,000 event types, 10,000 deliveries of one endpoint. Nothing is fetched that
// is not shown, nothing stalls; times are printed, and only generous ceilings asserted.
import { randomUUID } from 'node:crypto';
import { T } from '../lib/data.mjs';
import { go, settled } from '../lib/browser.mjs';
import { hold } from '../lib/customer.mjs';
import { eventually, Stack } from '../lib/stack.mjs';
import { firstRow, longest, watch } from '../lib/times.mjs';

const ENDPOINTS = 200;
const TYPES = 2000;
const DELIVERIES = 10_000;
const BATCH = 50;
/** Requests at a time: one that makes fifty deliveries is more work than one that makes a type. */
const AT_ONCE = 16;
const BATCHES_AT_ONCE = 4;
/** Milliseconds until all of it is delivered. */
const DELIVERED_MAX = 600_000;
/** Nobody waits longer than that, in milliseconds, on the slowest machine. */
const CEILING = 5000;
const LONG_TASK = 200;
/** Rows that are drawn at a time, however many were loaded. */
const ROWS_DRAWN = 250;

/** Does `work` for each number, several at a time. */
async function each(count, work, several = AT_ONCE) {
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
    // Ten thousand at once keep a machine busy for minutes: a delivery that waits for the CPU is not given up.
    const stack = await Stack.start(all.program, '--delivery-timeout', '25', '--retry-schedule', '5,30,60,120,240');
    all.later(() => stack.stop());
    let begun = Date.now();
    const lap = (what) => {
      const seconds = (Date.now() - begun) / 1000;
      begun = Date.now();
      console.log(`      made: ${what} in ${seconds.toFixed(1)} s`);
    };
    await post(stack, '/app', { name: 'Small', uid: 'small' });
    await post(stack, '/event-type', { name: 'few.one', description: 'One' });
    const few = await post(stack, '/app/small/endpoint', { url: `${all.receivers.url}/small`, filterTypes: ['few.one'] });
    await each(10, (n) => post(stack, '/app/small/msg', { eventType: 'few.one', payload: { n } }));
    await each(TYPES, (n) => post(stack, '/event-type', { name: `group${n % 40}.type${n}`, description: `Number ${n}`, schemas: { 1: { type: 'object', properties: { [`only_in_${n}`]: { type: 'string' } } } } }));
    lap(`${TYPES} event types`);
    await post(stack, '/app', { name: 'Large', uid: 'large' });
    const one = await post(stack, '/app/large/endpoint', { url: `${all.receivers.url}/large` });
    const arrived = () => all.receivers.ids('/large').size;
    await each(DELIVERIES / BATCH, (n) => post(stack, '/app/large/msg/batch', { messages: Array.from({ length: BATCH }, (_, m) => ({ eventType: `group${m % 40}.type${m}`, payload: { n, m } })) }), BATCHES_AT_ONCE);
    lap(`${DELIVERIES} messages, of which ${arrived()} were delivered meanwhile,`);
    await eventually(`${DELIVERIES} deliveries`, () => arrived() >= DELIVERIES, DELIVERED_MAX);
    lap('the other deliveries');
    // Those that come later get nothing of it.
    await each(ENDPOINTS - 1, (n) => post(stack, '/app/large/endpoint', { url: `${all.receivers.url}/large-${n}`, description: `Number ${n}` }));
    lap(`${ENDPOINTS} endpoints`);
    return { stack, few: few.id, one: one.id };
  })();
  return made;
}

export const alone = true;
/** Milliseconds that a test may take: the first one makes all of it. */
export const patience = 1_200_000;

export default {
  'nothing is fetched that is not shown': async (all) => {
    const { stack, one } = await large(all);
    const link = (await stack.linkTo('large')).url;
    const visit = all.visitor(stack);
    const page = await visit.open(link, { before: () => performance.setResourceTimingBufferSize(5000) });
    /** Requests to the API since the last call, and the bytes of their answers. */
    const asked = async () => {
      await settled(page);
      const list = await page.evaluate(() => {
        const all = performance.getEntriesByType('resource').filter(({ name }) => name.includes('/api/v1/')).map(({ name, transferSize }) => ({ url: name, bytes: transferSize }));
        performance.clearResourceTimings();
        return all;
      });
      return { list, count: list.length, of: (part) => list.filter(({ url }) => url.includes(part)).length, bytes: list.reduce((sum, each) => sum + each.bytes, 0) };
    };
    const say = (what, { count, bytes }) => all.report.push(`${what}: ${count} requests, ${(bytes / 1000).toFixed(1)} kB`);
    const inView = () => page.locator('main tbody tr').evaluateAll((list) => list.filter((row) => row.getBoundingClientRect().top < innerHeight + 100).length);
    let now = await asked();
    const rows = await page.locator('main tbody tr').count();
    const seen = await inView();
    say(`${ENDPOINTS} endpoints, ${rows} in the first page, ${seen} in view`, now);
    hold(rows <= 50 && now.of('/stats/') <= seen && now.count <= 2 * seen + 8, now.list);
    await go(page, `#/endpoints/${one}/deliveries`);
    now = await asked();
    const deliveries = await inView();
    say(`${DELIVERIES} deliveries of one endpoint, ${deliveries} in view`, now);
    hold(now.of('/msg?') === 1 && now.count <= deliveries + 8, now.list);
    await go(page, '#/event-types');
    now = await asked();
    say(`${TYPES} event types`, now);
    hold(now.list.filter(({ url }) => url.includes('/event-type?')).every(({ url }) => url.includes('with_content=false')), 'schemas of all types are asked for');
    hold(now.count <= TYPES / 250 + 4, now.list);
    await page.getByRole('searchbox').fill('type1999');
    await page.getByRole('link', { name: 'group39.type1999' }).click();
    await page.getByText('only_in_1999').waitFor();
    now = await asked();
    hold(now.count <= 3, now.list);
    await visit.close();
  },
  'from the shell to the list': async (all) => {
    const { stack, few, one } = await large(all);
    for (const [uid, endpoint, count] of [['small', few, 10], ['large', one, DELIVERIES]]) {
      const { url } = await stack.linkTo(uid);
      for (const [name, route] of [['endpoints', '/endpoints'], ['deliveries', `/endpoints/${endpoint}/deliveries`]]) {
        const ms = await firstRow(all, stack, url, route);
        all.report.push(`from the shell to the list of ${name}, an application with ${count} deliveries: ${Math.round(ms)} ms (a median)`);
        hold(ms < CEILING, `${ms} ms`);
      }
    }
  },
  'a list of 10,000 deliveries scrolls without a stall': async (all) => {
    const { stack, one } = await large(all);
    const visit = all.visitor(stack);
    const page = await visit.open((await stack.linkTo('large')).url.replace('#', `?next=/endpoints/${one}/deliveries#`), { before: watch });
    await settled(page);
    /** What the list says it has; of that, what is drawn is what is near the part that is seen. */
    const count = async () => Number((await page.getByText(/^[\d,]+ messages?$/).innerText()).replace(/\D/g, ''));
    const drawn = () => page.locator('main tbody tr').count();
    const begun = Date.now();
    await page.mouse.move(700, 400);
    let rows = await count();
    let last = 0;
    let most = 0;
    while (rows > last || (await page.getByRole('button', { name: T('more') }).count())) {
      last = rows;
      await page.mouse.wheel(0, 6000);
      await page.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
      rows = await eventually('more rows', async () => {
        const now = await count();
        return (now > last || !(await page.getByRole('button', { name: T('more') }).count())) && now;
      });
      most = Math.max(most, await drawn());
    }
    const seconds = (Date.now() - begun) / 1000;
    // The last page may have come between the two looks above.
    rows = await count();
    // Back to the top: what was drawn once is drawn again.
    await page.evaluate(() => scrollTo(0, 0));
    await eventually('the first rows', () => page.locator('main tbody').first().locator('tr').count());
    const stall = await longest(page);
    all.report.push(`scrolled through ${rows} deliveries in ${seconds.toFixed(1)} s, at most ${most} of them drawn; the longest task took ${stall} ms`);
    hold(rows === DELIVERIES, `${rows} rows`);
    hold(most <= ROWS_DRAWN, `${most} rows are drawn`);
    hold(stall <= LONG_TASK, `a task of ${stall} ms`);
    await visit.close();
  },
};
