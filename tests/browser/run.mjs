// Runs the suites against one runner. usage: node run.mjs PROGRAM [--pictures FOLDER] [words of tests' names…]
// `run.mjs PROGRAM 9-scale` runs the one about a large application, which the others leave out.
import { readdirSync } from 'node:fs';
import http from 'node:http';
import { launch, Visitor } from './lib/browser.mjs';
import { listen, Receivers, Stack } from './lib/stack.mjs';

const [program, ...words] = process.argv.slice(2);
const at = words.indexOf('--pictures');
const pictures = at < 0 ? '' : words.splice(at, 2)[1];
const here = new URL('.', import.meta.url);
const TEST_MAX = 300_000;
const AT_ONCE = 3;

// A page of another origin: the product that embeds the portal. The runner has to know it from the start.
const pages = new Map();
const product = http.createServer((request, response) => {
  const [type, body] = pages.get(new URL(request.url, 'http://x').pathname) || ['text/plain', ''];
  response.writeHead(body ? 200 : 404, { 'content-type': type }).end(body);
});
const origin = await listen(product);
const receivers = await Receivers.start();
const browser = await launch();
const stack = await Stack.start(program, '--cors-origins', origin);
const report = [];
/** What is stopped at the end. */
const ends = [];
let failed = 0;
let count = 0;

/** Runs one test with visitors of its own, and says how it went. */
async function run(suite, name, test, patience, world) {
  const begun = Date.now();
  const visitors = [];
  const visitor = (of = stack) => {
    visitors.push(new Visitor(browser, of.url));
    return visitors.at(-1);
  };
  let timer;
  const late = new Promise((_, fail) => (timer = setTimeout(() => fail(new Error('it takes too long')), patience)));
  count += 1;
  try {
    await Promise.race([test({ ...world, visitor }), late]);
    console.log(`ok    ${suite}: ${name} (${Date.now() - begun} ms)`);
  } catch (error) {
    failed += 1;
    console.log(`FAIL  ${suite}: ${name}\n${String(error.stack || error).slice(0, 6000)}`);
    for (const { page, problems } of visitors) {
      const text = await page?.locator('main').innerText({ timeout: 1000 }).catch(() => '');
      if (text) console.log(`  at ${page.url()}\n  ${problems.join('\n  ')}\n${text.replace(/^/gm, '  | ').slice(0, 1500)}`);
    }
  } finally {
    clearTimeout(timer);
    for (const each of visitors) await each.context?.close();
  }
}

try {
  const folder = pictures ? 'pictures/' : 'suites/';
  // A large application takes a machine of its own, and minutes: its suite runs where it is asked for.
  const suites = readdirSync(new URL(folder, here)).filter((name) => name.endsWith('.mjs') && (words.length || !name.startsWith('9-'))).sort();
  const world = { later: (work) => ends.push(work), stack, receivers, browser, report, program, pictures, product: { origin, pages } };
  let together = [];
  // Most of the time is spent waiting for retries: tests of several suites may wait together.
  const drain = () => Promise.all(Array.from({ length: AT_ONCE }, async () => {
    for (let next = together.shift(); next; next = together.shift()) await run(...next, world);
  }));
  for (const suite of suites) {
    const { default: tests, alone, patience = TEST_MAX } = await import(new URL(folder + suite, here));
    const chosen = Object.entries(tests).filter(([name]) => !words.length || words.every((word) => `${suite} ${name}`.includes(word)));
    if (alone) await drain();
    for (const [name, test] of chosen) {
      if (alone) await run(suite, name, test, patience, world);
      else together.push([suite, name, test, patience]);
    }
  }
  await drain();
} finally {
  await browser.close();
  for (const end of ends) await end();
  await stack.stop();
  await receivers.stop();
  product.close();
}
if (report.length) console.log(`\n${report.join('\n')}`);
console.log(`\n${count - failed} of ${count} tests hold`);
process.exit(failed || !count ? 1 : 0);
