// Every screen, as an operator and as a customer: by axe on a phone and a desktop, light and dark; no sideways
// scrolling from 320 pixels to 4K; no request to another origin, nothing that the policy refuses, nothing blank.
import { routes, world } from '../lib/data.mjs';
import { DESKTOP, go, overflow, PHONE, resize, settled, violations } from '../lib/browser.mjs';

const LOOKS = [['desktop, light', DESKTOP, 'light'], ['desktop, dark', DESKTOP, 'dark'], ['phone, dark', PHONE, 'dark'], ['phone, light', PHONE, 'light']];
const WIDTHS = [320, 480, 768, 1024, 1920, 3840];

async function walk({ stack, receivers, visitor, report }, who) {
  const data = await world(stack, receivers);
  const visit = visitor();
  const page = await visit.open(who === 'operator' ? stack.link : (await stack.linkTo(data.acme.id)).url);
  await settled(page);
  const problems = [];
  const counts = [];
  for (const [name, route, shows] of routes(who, data)) {
    await resize(page, DESKTOP);
    await go(page, route, shows);
    if (!(await page.locator('main').innerText()).trim()) problems.push(`${name}: a blank page`);
    const found = [];
    for (const [look, size, colorScheme] of LOOKS) {
      await resize(page, size);
      await page.emulateMedia({ colorScheme });
      await settled(page);
      found.push(...(await violations(page)).map((one) => `${name}, ${look}: ${one}`));
    }
    counts.push(`${name} ${found.length}`);
    problems.push(...found);
    for (const width of WIDTHS) {
      await resize(page, { width, height: 800 });
      const wide = await overflow(page);
      if (wide) problems.push(`${name} at ${width}: ${wide}`);
    }
  }
  report.push(`axe's violations, ${who}, on a phone and a desktop, light and dark: ${counts.join(', ')}`);
  if (problems.length) throw new Error(problems.join('\n'));
  await visit.close();
}

export default {
  'operator': (all) => walk(all, 'operator'),
  'customer': (all) => walk(all, 'customer'),
};
