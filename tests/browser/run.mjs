// Runs the suites against one runner. usage: node run.mjs PROGRAM [words of tests' names…]
import { readdirSync } from 'node:fs';
import http from 'node:http';
import { launch, Visitor } from './lib/browser.mjs';
import { listen, Receivers, Stack } from './lib/stack.mjs';

const [program, ...words] = process.argv.slice(2);
const here = new URL('.', import.meta.url);
const TEST_MAX = 120_000;

// A page of another origin: the product that embeds the portal. The runner has to know it from the start.
const pages = new Map();
const product = http.createServer((request, response) => {
  const [type, body] = pages.get(new URL(request.url, 'http://x').pathname) || ['text/plain', ''];
  response.writeHead(body ? 200 : 404, { 'content-type': type }).end(body);
});
const origin = await listen(product);
const receivers = await Receivers.start();
const stack = await Stack.start(program, '--cors-origins', origin);
const browser = await launch();
const report = [];
let failed = 0;
let count = 0;
try {
  const suites = readdirSync(new URL('suites/', here)).filter((name) => name.endsWith('.mjs')).sort();
  const world = { stack, receivers, browser, report, program, product: { origin, pages }, visitor: () => new Visitor(browser, stack.url) };
  for (const suite of suites) {
    const { default: tests, setup } = await import(new URL(`suites/${suite}`, here));
    const chosen = Object.entries(tests).filter(([name]) => !words.length || words.every((word) => `${suite} ${name}`.includes(word)));
    if (chosen.length && setup) await setup(world);
    for (const [name, test] of chosen) {
      const begun = Date.now();
      let timer;
      const late = new Promise((_, fail) => (timer = setTimeout(() => fail(new Error('it takes too long')), TEST_MAX)));
      try {
        await Promise.race([test(world), late]);
        console.log(`ok    ${suite}: ${name} (${Date.now() - begun} ms)`);
      } catch (error) {
        failed += 1;
        console.log(`FAIL  ${suite}: ${name}\n${String(error.stack || error).slice(0, 4000)}`);
      } finally {
        clearTimeout(timer);
        for (const context of browser.contexts()) await context.close();
      }
      count += 1;
    }
  }
} finally {
  await browser.close();
  await stack.stop();
  await receivers.stop();
  product.close();
}
if (report.length) console.log(`\n${report.join('\n')}`);
console.log(`\n${count - failed} of ${count} tests hold`);
process.exit(failed || !count ? 1 : 0);
