// An application with a million delivered messages, of twelve days: the lists are there at once, and scroll. The messages are
// put into the store's file while the runner is stopped (lib/million.py): delivered one by one they take most of an hour.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { T } from '../lib/data.mjs';
import { settled } from '../lib/browser.mjs';
import { hold } from '../lib/customer.mjs';
import { eventually, Stack } from '../lib/stack.mjs';
import { firstRow, longest, watch } from '../lib/times.mjs';

const MESSAGES = 1_000_000;
/** Rows that are scrolled through. */
const SCROLLED = 2000;
/** Nobody waits longer than that, in milliseconds, on the slowest machine. */
const CEILING = 5000;
const LONG_TASK = 250;

export const alone = true;
export const patience = 1_800_000;

export default {
  'a million messages: the lists, an old page, and a message of the first day': async (all) => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'postrider-million-'));
    all.later(() => rmSync(folder, { recursive: true }));
    let stack = await Stack.start(all.program, '--data', folder);
    const made = await stack.api('POST', '/app', { name: 'Million' });
    const one = await stack.api('POST', `/app/${made.id}/endpoint`, { url: `${all.receivers.url}/million` });
    await stack.api('POST', `/app/${made.id}/msg`, { eventType: 'invoice.paid', payload: { id: 'inv_million', lines: Array.from({ length: 8 }, (_, line) => ({ line, amount: 100 * line })) } });
    await eventually('the delivery', async () => (await stack.api('GET', `/app/${made.id}/attempt/endpoint/${one.id}`)).data.length === 1);
    await stack.stop();
    let begun = Date.now();
    const script = fileURLToPath(new URL('../lib/million.py', import.meta.url));
    execFileSync('python3', [script, folder, made.id, one.id, String(MESSAGES)]);
    console.log(`      made: ${MESSAGES} messages in ${((Date.now() - begun) / 1000).toFixed(1)} s`);
    stack = await Stack.start(all.program, '--data', folder);
    all.later(() => stack.stop());
    const { url } = await stack.linkTo(made.id);
    for (const [name, route] of [['endpoints', '/endpoints'], ['deliveries of one endpoint', `/endpoints/${one.id}/deliveries`], ['all messages', '/deliveries'], ['messages of a week ago', `/deliveries?to=${new Date(Date.now() - 7 * 864e5).toISOString().slice(0, 16)}`]]) {
      const ms = await firstRow(all, stack, url, route);
      all.report.push(`a million messages: from the shell to the list of ${name}: ${Math.round(ms)} ms`);
      hold(ms < CEILING, `${name}: ${ms} ms`);
    }
    const visit = all.visitor(stack);
    const list = await visit.open(url.replace('#', `?next=${encodeURIComponent(`/endpoints/${one.id}/deliveries`)}#`), { before: watch });
    await settled(list);
    begun = Date.now();
    const count = async () => Number((await list.getByText(/^[\d,]+ messages?$/).innerText()).replace(/\D/g, ''));
    for (let rows = await count(); rows < SCROLLED; rows = await eventually('more rows', async () => ((await count()) > rows ? count() : 0))) {
      await list.mouse.wheel(0, 6000);
      await list.evaluate(() => scrollTo(0, document.documentElement.scrollHeight));
    }
    const stall = await longest(list);
    all.report.push(`a million messages: scrolled through ${await count()} in ${((Date.now() - begun) / 1000).toFixed(1)} s; the longest task took ${stall} ms; load ${os.loadavg()[0].toFixed(1)}`);
    hold(stall <= LONG_TASK, `a task of ${stall} ms`);
    // The oldest of all opens, with its attempt.
    const { data: [oldest] } = await stack.api('GET', `/app/${made.id}/msg?limit=1&before=${new Date(Date.now() - (MESSAGES - 500) * 1000).toISOString()}`);
    await list.goto(`${list.url().split('#')[0]}#/messages/${oldest.id}`);
    await list.getByText('inv_million').waitFor();
    await list.getByText(T('st_success')).first().waitFor();
    await visit.close();
  },
};
