// Every screen, as an operator and as a customer: by axe, on a phone and a desktop, light and dark, from 320
// pixels to 4K without sideways scrolling, no request to another origin, nothing that the policy refuses.
import { OPERATOR, screens, world } from '../lib/data.mjs';
import { DESKTOP, go, overflow, PHONE, settled, violations } from '../lib/browser.mjs';

async function walk({ stack, receivers, visitor, report }, who, options) {
  const data = await world(stack, receivers);
  const operator = who === 'operator';
  const visit = visitor();
  const page = await visit.open(operator ? stack.link : (await stack.linkTo(data.acme.id)).url, options);
  await settled(page);
  const base = operator ? `#/app/${data.acme.id}` : '#';
  const routes = Object.entries(screens(data)).map(([name, path]) => [name, base + path]);
  const problems = [];
  const counts = [];
  for (const [name, route] of [...(operator ? Object.entries(OPERATOR) : []), ...routes]) {
    await go(page, route);
    await page.waitForTimeout(60);
    const found = await violations(page);
    counts.push(`${name} ${found.length}`);
    problems.push(...found.map((one) => `${name}: ${one}`));
    const wide = await overflow(page);
    if (wide) problems.push(`${name}: ${wide} pixels too wide`);
    const text = await page.evaluate(() => document.querySelector('main').innerText.trim());
    if (text.length < 10) problems.push(`${name}: a blank page`);
  }
  report.push(`axe, ${who}, ${options.size === PHONE ? 'phone' : 'desktop'}, ${options.scheme}: ${counts.join(', ')}`);
  await visit.close();
  if (problems.length) throw new Error(problems.join('\n'));
}

const tests = {};
for (const who of ['operator', 'customer']) {
  for (const [size, named] of [[DESKTOP, 'desktop'], [PHONE, 'phone']]) {
    for (const scheme of ['light', 'dark']) tests[`${who}, ${named}, ${scheme}`] = (all) => walk(all, who, { size, scheme });
  }
}

export default {
  ...tests,
  'from 320 pixels to 4K nothing scrolls sideways': async ({ stack, receivers, visitor }) => {
    const data = await world(stack, receivers);
    const visit = visitor();
    const page = await visit.open(stack.link);
    await settled(page);
    const problems = [];
    for (const width of [320, 480, 768, 1024, 1920, 3840]) {
      await page.setViewportSize({ width, height: 800 });
      for (const [name, route] of [...Object.entries(OPERATOR), ...Object.entries(screens(data)).map(([n, p]) => [n, `#/app/${data.acme.id}${p}`])]) {
        await go(page, route);
        const wide = await overflow(page);
        if (wide) problems.push(`${name} at ${width}: ${wide} pixels too wide`);
      }
    }
    await visit.close();
    if (problems.length) throw new Error(problems.join('\n'));
  },
};
