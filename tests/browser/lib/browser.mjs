// A real browser that complains: about whatever the policy refuses, about scripts that fail, about requests to
// other origins, about answers that nobody expects.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
export const DESKTOP = { width: 1280, height: 800 };
export const PHONE = { width: 375, height: 740 };
const PATIENCE = 15_000;

export function launch() {
  const executablePath = process.env.CHROMIUM || '/usr/bin/chromium';
  return chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}

/** Requests on their way, by page. */
const loading = new WeakMap();

/** Opens pages of one origin, and keeps what went wrong in them. */
export class Visitor {
  constructor(browser, origin) {
    Object.assign(this, { browser, origin, problems: [], requests: [] });
  }

  /** `allowed`: other origins that may be asked. `statuses`: answers beyond 399 that the test is about. `whole`: applications come on one page, however many the tests have made. */
  async open(url, { size = DESKTOP, scheme = 'light', allowed = [], statuses = [], whole, before, ...options } = {}) {
    this.context = await this.browser.newContext({ viewport: size, colorScheme: scheme, reducedMotion: 'reduce', locale: 'en-US', timezoneId: 'Europe/Berlin', ...options });
    this.context.setDefaultTimeout(PATIENCE);
    const origins = [this.origin, ...allowed];
    await this.context.route(({ origin, protocol }) => protocol.startsWith('http') && !origins.includes(origin), (route) => {
      this.problems.push(`a request to ${route.request().url()}`);
      return route.abort();
    });
    await this.context.addInitScript(() => {
      addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI} ${e.sourceFile}:${e.lineNumber}`));
    });
    if (whole) await this.context.route(/\/api\/v1\/app\?.*limit=50$/, (route) => route.continue({ url: route.request().url().replace('limit=50', 'limit=250') }));
    if (before) await this.context.addInitScript(before);
    const page = await this.context.newPage();
    const asked = new Set();
    loading.set(page, asked);
    page.on('request', (request) => asked.add(request));
    page.on('requestfinished', (request) => asked.delete(request));
    page.on('requestfailed', (request) => asked.delete(request));
    page.on('pageerror', (error) => this.problems.push(`a script failed: ${error}`));
    page.on('console', (message) => {
      const text = message.text();
      // The console repeats that a request failed; the answer itself is looked at below.
      if (message.type() === 'error' && !/^Failed to load resource/.test(text)) this.problems.push(text);
    });
    page.on('response', (response) => {
      const status = response.status();
      this.requests.push({ url: response.url(), method: response.request().method(), status });
      if (status >= 400 && !statuses.includes(status)) this.problems.push(`${status} for ${response.request().method()} ${response.url()}`);
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

/** Goes to a route of the page that is open, and waits until it shows what it is about. */
export async function go(page, route, shows) {
  await page.evaluate((hash) => new Promise((done) => {
    if (location.hash === hash) return done();
    addEventListener('hashchange', () => requestAnimationFrame(() => requestAnimationFrame(done)), { once: true });
    return (location.hash = hash);
  }), route);
  await settled(page);
  if (shows) await page.locator('main').getByText(shows).first().waitFor();
}

/** Waits for the shell and its content: nothing that one sees is a placeholder, and no request is on its way. */
export async function settled(page) {
  await page.locator('main h1, main h2').first().waitFor();
  const end = Date.now() + PATIENCE;
  for (let quiet = 0; quiet < 3;) {
    // One frame at least, so that what was asked for before is drawn.
    const waits = await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => setTimeout(() => {
      const placeholders = [...document.querySelectorAll('main .sk, main [aria-busy=true]')].filter((each) => {
        const { top, bottom, width } = each.getBoundingClientRect();
        return width && bottom > 0 && top < innerHeight;
      });
      done(placeholders.length + document.getAnimations().filter((each) => each.playState === 'running').length);
    }, 20))));
    quiet = waits || loading.get(page)?.size ? 0 : quiet + 1;
    if (Date.now() > end) throw new Error(`it does not settle: ${waits} placeholders, ${[...(loading.get(page) || [])].map((one) => one.url())}`);
  }
}

/** Gives the window another size, and waits until the page has it. */
export async function resize(page, size) {
  await page.setViewportSize(size);
  await page.waitForFunction((width) => innerWidth === width, size.width);
}

/** What axe finds, in words. */
export async function violations(page) {
  if (!(await page.evaluate(() => 'axe' in window))) await page.evaluate(axe);
  return page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ['violations'] });
    return violations.map((one) => `${one.id} (${one.impact}): ${one.nodes.map((node) => `${node.target.join(' ')} ${node.any[0]?.message || ''}`).slice(0, 3).join(', ')}: ${one.help}`);
  });
}

/** By how many pixels the page is wider than its window, and what it is that is. */
export function overflow(page) {
  return page.evaluate(() => {
    const width = document.documentElement.clientWidth;
    const over = document.documentElement.scrollWidth - width;
    if (over <= 0) return '';
    const wide = [...document.querySelectorAll('main *')].filter((each) => each.getBoundingClientRect().right > width + 1);
    return `${over} pixels too wide: ${wide.slice(-1).map((each) => each.outerHTML.slice(0, 120))}`;
  });
}
