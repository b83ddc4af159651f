// What a visitor waits for: the first row of a list, and tasks that hold up the page.
import { settled } from './browser.mjs';

/** How often a time is measured. */
const TURNS = 5;

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

/** Notes when the first row is there, and what takes long; for a page before it loads. */
export const watch = () => {
  window.long = [];
  new PerformanceObserver((list) => window.long.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask', buffered: true });
  const look = () => {
    if (document.querySelector('main tbody a')) window.first = performance.now();
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
};

/** Milliseconds of the longest task so far. */
export const longest = async (page) => Math.round(Math.max(0, ...(await page.evaluate(() => window.long))));

/** Milliseconds from the first byte of the shell to the first row, the median of several visits. */
export async function firstRow(all, stack, link, route) {
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
