// Endpoints in AWS: made with what their owner has to deploy, refused with reasons at the fields, shown and changed.
import { T } from '../lib/data.mjs';
import { go, settled, violations } from '../lib/browser.mjs';
import { button, card, customer, field, hold } from '../lib/customer.mjs';
import { eventually } from '../lib/stack.mjs';

const ROLE = 'arn:aws:iam::123456789012:role/postrider-orders';
const PLACES = [
  ['SQS', 'sqs', 'arn:aws:sqs:eu-central-1:123456789012:orders.fifo', 'sqs:SendMessage', { fifoKey: '/customer/id' }],
  ['SNS', 'sns', 'arn:aws:sns:eu-central-1:123456789012:orders', 'sns:Publish', {}],
  ['EventBridge', 'eventbridge', 'arn:aws:events:eu-central-1:123456789012:event-bus/orders', 'events:PutEvents', {}],
  ['S3', 's3', 'arn:aws:s3:::orders', 's3:PutObject', { region: 'eu-central-1', format: 'jsonl', keyTemplate: '{year}/{message}.json' }],
  ['Lambda', 'lambda', 'arn:aws:lambda:eu-central-1:123456789012:function:orders', 'lambda:InvokeFunction', {}],
];
const choose = (page, name) => page.getByRole('button', { name, exact: true }).click();
/** The page again, with another answer about what the installation takes. */
async function told(page, change) {
  await page.route('**/api/v1/auth/whoami', async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: change(await answer.json()) });
  });
  await page.reload();
  await settled(page);
}

export default {
  'an endpoint of each kind in AWS is made, shown with its place, and changed': async (all) => {
    const { visit, page, app, at } = await customer(all, 'places', { statuses: [422] });
    const id = `postrider-${app.id}`;
    for (const [name, kind, arn, action, more] of PLACES) {
      await go(page, '#/endpoints', T('endpoints'));
      await go(page, '#/endpoints/new');
      await choose(page, name);
      hold((await field('externalId', page).inputValue()) === id, 'another external ID');
      await field('arn', page).fill(arn);
      await field('roleArn', page).fill(ROLE);
      for (const [part, value] of Object.entries(more)) await (part === 'format' ? field(part, page).selectOption(value) : field(part, page).fill(value));
      const code = await page.getByRole('region', { name: 'CloudFormation' }).innerText();
      for (const part of [`"sts:ExternalId": "${id}"`, `Action: ${action}`, `Resource: "${arn}${kind === 's3' ? '/*' : ''}"`, 'RoleName: "postrider-orders"', '!Ref DeliverRoleArn']) hold(code.includes(part), `${part} is not in\n${code}`);
      hold(!(await violations(page)).length, await violations(page));
      await button('addEndpoint', page).click();
      await page.waitForURL('**/test');
      const { destination } = (await all.stack.api('GET', `${at}/endpoint`)).data[0];
      for (const [part, value] of Object.entries({ kind, arn, roleArn: ROLE, externalId: id, ...more })) hold(destination[part] === value, destination);
    }
    const { data } = await all.stack.api('GET', `${at}/endpoint`);
    const made = (kind) => data.find(({ destination }) => destination.kind === kind);
    await go(page, `#/endpoints/${made('s3').id}`, 'arn:aws:s3:::orders');
    for (const shown of ['S3', ROLE, 'eu-central-1', 'jsonl', '{year}/{message}.json', id]) await page.locator('main dd').getByText(shown, { exact: true }).waitFor();
    // It has no headers of its own; all else is as it was made.
    await go(page, `#/endpoints/${made('sqs').id}/settings`);
    hold(!(await card(page, 'headers').count()), 'headers are offered');
    hold((await field('fifoKey', page).inputValue()) === '/customer/id', 'another message group');
    await field('fifoKey', page).fill('order');
    await button('save', page).click();
    const why = page.locator('.field', { has: field('fifoKey', page) }).locator('.why');
    await why.waitFor();
    await field('fifoKey', page).fill('/order');
    await button('save', page).click();
    await eventually('it is changed', async () => (await all.stack.api('GET', `${at}/endpoint/${made('sqs').id}`)).destination.fifoKey === '/order');
    await visit.close();
  },
  'what the server does not take of a place in AWS is said at its field': async (all) => {
    const { visit, page, at } = await customer(all, 'wrong-places', { statuses: [422] });
    await go(page, '#/endpoints/new');
    await choose(page, 'S3');
    const add = button('addEndpoint', page);
    const said = async (key) => {
      await page.locator('.field', { has: field(key, page) }).locator('.why').waitFor();
    };
    await field('arn', page).fill('arn:aws:sqs:eu-central-1:123456789012:orders');
    await field('roleArn', page).fill('postrider-orders');
    await field('region', page).fill('eu-central-1');
    await field('keyTemplate', page).fill('{year}.json');
    await add.click();
    for (const key of ['arn', 'roleArn', 'keyTemplate']) await said(key);
    hold(!(await violations(page)).length, await violations(page));
    hold(!(await all.stack.api('GET', `${at}/endpoint`)).data.length, 'one was made');
    await visit.close();
  },
  'places in AWS are offered where the installation takes them, with the role that it has': async (all) => {
    const { visit, page } = await customer(all, 'no-places');
    await told(page, ({ destinationRoles, ...who }) => who);
    await go(page, '#/endpoints/new');
    await button('kind_polling', page).waitFor();
    for (const [name] of PLACES) hold(!(await page.getByRole('button', { name, exact: true }).count()), `${name} is offered`);
    await visit.close();
    const other = await customer(all, 'places-by-role');
    const deliverRole = 'arn:aws:iam::210987654321:role/postrider-deliver';
    await told(other.page, (who) => ({ ...who, deliverRole, destinationRoles: 'arn:aws:iam::*:role/postrider-*' }));
    await go(other.page, '#/endpoints/new');
    await choose(other.page, 'Lambda');
    const code = await other.page.getByRole('region', { name: 'CloudFormation' }).innerText();
    hold(code.includes(`AWS: "${deliverRole}"`) && !code.includes('Parameters') && code.includes('RoleName: "postrider-orders"'), code);
    hold(!(await other.page.getByText(T('awsDeliverRole')).count()), 'it says to ask for the role');
    await other.visit.close();
  },
};
