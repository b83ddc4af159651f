// A real browser that complains: about whatever the policy refuses, about scripts that fail, about requests to
// other origins.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 375, height: 740 };

export function launch() {
  const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}

/** Opens pages of one origin, and keeps what went wrong in them. */
export class Visitor {
  constructor(browser, origin) {
    Object.assign(this, { browser, origin, problems: [], requests: [], others: [] });
  }

  async open(url, { size = DESKTOP, scheme = 'light', allowed = [], statuses = [], ...options } = {}) {
    this.context = await this.browser.newContext({ viewport: size, colorScheme: scheme, reducedMotion: 'reduce', locale: 'en-US', timezoneId: 'Europe/Berlin', ...options });
    this.context.setDefaultTimeout(15_000);
    const origins = [this.origin, ...allowed];
    await this.context.route('**/*', (route) => {
      const { origin } = new URL(route.request().url());
      if (origins.includes(origin) || origin === 'null') return route.fallback();
      this.problems.push(`a request to ${route.request().url()}`);
      return route.abort();
    });
    await this.context.addInitScript(() => {
      addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`));
    });
    const page = await this.context.newPage();
    page.on('pageerror', (error) => this.problems.push(`a script failed: ${error}`));
    page.on('console', (message) => {
      const text = message.text();
      // A failed request is an error of the console too; what the page makes of it is tested.
      if (message.type() === 'error' && !/^Failed to load resource/.test(text)) this.problems.push(text);
    });
    page.on('response', (response) => {
      const status = response.status();
      this.requests.push({ url: response.url(), method: response.request().method(), status });
      if (status >= 500 && !statuses.includes(status)) this.problems.push(`${status} for ${response.url()}`);
    });
    this.page = page;
    await page.goto(url);
    return page;
  }

  async close() {
    await this.context?.close();
    const problems = this.problems.splice(0);
    if (problems.length) throw new Error(`the page has problems:\n  ${problems.join('\n  ')}`);
  }
}

/** Goes to a route of the page that is open, and waits until it has loaded what it shows. */
export async function go(page, route) {
  await page.evaluate((hash) => (location.hash = hash), route);
  await settled(page);
}

/** Waits until nothing is loading: no skeleton, no request on its way for a moment. */
export async function settled(page) {
  await page.waitForSelector('h1');
  await page.waitForFunction(() => !document.querySelector('.sk, [aria-busy=true]'), undefined, { timeout: 15_000 });
}

/** What axe finds, in words. */
export async function violations(page) {
  await page.evaluate(axe);
  const found = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ['violations'] });
    return violations.map((one) => `${one.id} (${one.impact}): ${one.nodes.map((node) => node.target.join(' ')).slice(0, 3).join(', ')}: ${one.help}`);
  });
  return found;
}

/** Whether something is wider than the window. */
export function overflow(page) {
  return page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    return document.documentElement.scrollWidth > width ? document.documentElement.scrollWidth - width : 0;
  });
}
