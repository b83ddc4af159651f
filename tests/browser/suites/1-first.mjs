// The first minute: the runner's link, one button, and a verified message. It needs a runner where nothing is yet.
import { T } from '../lib/data.mjs';
import { settled } from '../lib/browser.mjs';

export const alone = true;

export default {
  'the link opens the portal, and the token is nowhere but in this tab': async ({ stack, visitor }) => {
    const visit = visitor();
    const page = await visit.open(stack.link);
    await settled(page);
    const url = page.url();
    if (url.includes('key=') || url.includes(stack.token)) throw new Error(`the token is in ${url}`);
    const kept = await page.evaluate(() => [JSON.stringify({ ...localStorage }), document.cookie, JSON.stringify({ ...sessionStorage })]);
    if (kept[0] !== '{}' || kept[1] || !kept[2].includes(stack.token)) throw new Error(`kept: ${kept}`);
    await page.reload();
    await page.getByRole('button', { name: T('firstButton') }).waitFor();
    await visit.close();
  },
  'one button sends a message and shows it arrive, verified': async ({ stack, visitor }) => {
    const visit = visitor();
    const page = await visit.open(stack.link);
    await page.getByRole('button', { name: T('firstButton') }).click();
    await page.locator('.pill', { hasText: T('verified') }).waitFor();
    await page.getByText('inv_1042').waitFor();
    const { data } = await stack.api('GET', '/app/demo/msg');
    if (data.length !== 1 || data[0].eventType !== 'invoice.paid') throw new Error(JSON.stringify(data));
    await page.getByRole('link', { name: T('seeMessage') }).click();
    await page.waitForURL(`**/messages/${data[0].id}`);
    await settled(page);
    await visit.close();
  },
  'the first address leads here and asks for a token': async ({ stack, visitor }) => {
    const visit = visitor();
    const page = await visit.open(`${stack.url}/`);
    await page.getByLabel(T('token'), { exact: true }).fill(stack.token);
    await page.getByRole('button', { name: T('signIn') }).click();
    await page.getByRole('heading', { name: T('applications') }).waitFor();
    await visit.close();
  },
};
