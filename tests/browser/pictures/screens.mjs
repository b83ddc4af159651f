// A picture of every screen, on a phone and a desktop, light and dark: run.mjs PROGRAM --pictures FOLDER screens
import { writeFileSync } from 'node:fs';
import { DESKTOP, go, PHONE, resize, settled } from '../lib/browser.mjs';
import { routes, world } from '../lib/data.mjs';

async function take({ stack, receivers, visitor, pictures }, who) {
  const data = await world(stack, receivers);
  const visit = visitor();
  const page = await visit.open(who === 'operator' ? stack.link : (await stack.linkTo(data.acme.id)).url);
  await settled(page);
  for (const [name, route, shows] of routes(who, data)) {
    await resize(page, DESKTOP);
    await go(page, route, shows);
    for (const [look, size] of [['desktop', DESKTOP], ['phone', PHONE]]) {
      await resize(page, size);
      for (const colorScheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme });
        await settled(page);
        writeFileSync(`${pictures}/${who}-${name.replace(/\W+/g, '-')}-${look}-${colorScheme}.png`, await page.screenshot());
      }
    }
  }
  await visit.close();
}

export default {
  'screens, as an operator sees them': (all) => take(all, 'operator'),
  'screens, as a customer sees them': (all) => take(all, 'customer'),
};
