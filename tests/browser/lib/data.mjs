// What the suites look at: made once, through the API.
import { readFileSync } from 'node:fs';
import { eventually } from './stack.mjs';

const folder = new URL('../../../functions/portal/app/', import.meta.url);

/** A catalogue of texts. */
export async function texts(name) {
  const source = readFileSync(new URL(`text-${name}.js`, folder), 'utf8');
  return (await import(`data:text/javascript,${encodeURIComponent(source)}`)).default;
}

const english = await texts('en');
/** The English text of a key. */
export function T(key, values = {}) {
  if (!(key in english)) throw new Error(`no text ${key}`);
  return english[key].replace(/\{(\w+)\}/g, (_, name) => values[name] ?? '');
}

/** The English text of a key, up to its first value. */
export const begins = (key) => english[key].split('{')[0].trim();

export const EMOJI = '🦊'.repeat(64) + '👩‍👩‍👧‍👦'.repeat(10);
export const NASTY = { html: '<script>document.title = "run"</script><img src=x onerror="document.title=2">', arabic: 'مرحبا بالعالم', long: 'x'.repeat(300) };
const LOOP = { $ref: '#', type: 'object', properties: { again: { $ref: '#' }, name: { type: 'string' } } };

/** Milliseconds until what fails is exhausted, on a machine with much else to do. */
const WORLD_MAX = 90_000;

let made;
/** An application with endpoints that work, fail, hang and answer strangely, types, messages. */
export function world(stack, receivers) {
  made ||= make(stack, receivers);
  return made;
}

async function make(stack, receivers) {
  const api = (method, path, body) => stack.api(method, path, body);
  for (const [name, groupName, schema] of [
    ['invoice.paid', 'Billing', { type: 'object', required: ['id'], properties: { id: { type: 'string', description: 'The invoice' }, amount: { type: 'integer' } }, examples: [{ id: 'inv_1', amount: 100 }] }],
    ['invoice.voided', 'Billing', null],
    ['user.created', 'Users', LOOP],
  ]) await api('PUT', `/event-type/${name}`, { description: `${name}, described`, groupName, schemas: schema && { 1: schema } }); // The first minute made one of them.
  const acme = await api('POST', '/app', { name: 'Acme', uid: 'acme' });
  const endpoint = (path, description, more = {}) => api('POST', `/app/${acme.id}/endpoint`, { url: `${receivers.url}/${path}`, description, ...more });
  const endpoints = { ok: await endpoint('ok', 'Works', { retryPolicy: { schedule: [1, 4] } }), fail: await endpoint('fail', 'Fails'), hang: await endpoint('hang', 'Hangs'), binary: await endpoint('binary', 'Binary'), script: await endpoint('script', NASTY.html) };
  endpoints.polled = await api('POST', `/app/${acme.id}/endpoint`, { destination: { kind: 'polling' }, description: 'Polled', filter: { amount: [{ numeric: ['>', 10] }] } });
  const messages = [];
  for (const payload of [{ id: 'inv_1', amount: 100 }, { text: NASTY.html, arabic: NASTY.arabic, big: 12345678901234567890n.toString() }]) messages.push(await api('POST', `/app/${acme.id}/msg`, { eventType: 'invoice.paid', payload }));
  const big = await api('POST', `/app/${acme.id}/msg`, { eventType: 'user.created', payload: { text: 'y'.repeat(900_000) } });
  const odd = await api('POST', '/app', { name: [...EMOJI].slice(0, 120).join(''), uid: 'odd', metadata: { note: NASTY.html } });
  await api('POST', '/app', { name: NASTY.html, uid: 'html' });
  await api('POST', '/app', { name: NASTY.arabic, uid: 'arabic' });
  await api('POST', '/app', { name: 'Empty', uid: 'empty' });
  // What fails is exhausted, so that it is among what needs somebody.
  await eventually('messages that are exhausted', async () => (await api('GET', `/app/${acme.id}/undelivered`)).data.filter((one) => one.endpointId === endpoints.fail.id).length === messages.length + 1, WORLD_MAX);
  await eventually('an endpoint that fails', async () => (await api('GET', '/failing-endpoint')).data.some((one) => one.endpointId === endpoints.fail.id), WORLD_MAX);
  return { acme, odd, endpoints, messages, big };
}

/** Every screen of an application: its route below the application's, and something that it shows. */
export const screens = ({ endpoints: { ok, fail, polled }, messages }) => ({
  endpoints: ['/endpoints', '/hang'],
  'add an endpoint': ['/endpoints/new', 'invoice.paid'],
  'add an endpoint in aws': ['/endpoints/new?kind=sqs', T('awsSide')],
  endpoint: [`/endpoints/${fail.id}`, T('commonErrors')],
  'endpoint: deliveries': [`/endpoints/${fail.id}/deliveries`, messages[0].id],
  'endpoint: test': [`/endpoints/${ok.id}/test`, T('testSend')],
  'an endpoint that is polled': [`/endpoints/${polled.id}`, T('pollHow')],
  'endpoint: settings': [`/endpoints/${ok.id}/settings`, T('headersHint')],
  'endpoint: secret': [`/endpoints/${ok.id}/secret`, T('secretText')],
  'endpoint: recovery': [`/endpoints/${fail.id}/recovery`, T('about_recover')],
  deliveries: ['/deliveries', messages[0].id],
  undelivered: ['/deliveries?view=needs', messages[0].id],
  message: [`/messages/${messages[0].id}`, 'inv_1'],
  'event catalog': ['/event-types', 'invoice.voided'],
  'an event type': ['/event-types/invoice.paid', 'amount'],
  live: ['/live', 'invoice.paid'],
  recovery: ['/recovery', T('chooseEndpoint')],
  'no such screen': ['/no-such-screen', T('missingTitle')],
});

/** The screens across applications. */
export const OPERATOR = {
  applications: ['#/apps', 'Acme'],
  'failing endpoints': ['#/attention', '/fail'],
  'undelivered of all': ['#/attention?view=messages', 'invoice.paid'],
  'event types': ['#/types', 'invoice.voided'],
  'an event type, edited': ['#/types/invoice.paid', 'amount'],
  tasks: ['#/tasks', T('tasksSub')],
  'audit log': ['#/audit', 'endpoint'],
  theme: ['#/theme', 'api.example.com'],
  usage: ['#/usage', 'Acme'],
  'operational webhooks': ['#/operational', T('operationalHow')],
  tokens: ['#/token', T('whoAmI')],
};

/** All that one who opens the portal may see: name, route, what shows. */
export function routes(who, data) {
  const operator = who === 'operator';
  const own = Object.entries(screens(data)).map(([name, [path, shows]]) => [name, (operator ? `#/app/${data.acme.id}` : '#') + path, shows]);
  return [...(operator ? Object.entries(OPERATOR).map(([name, of]) => [name, ...of]) : []), ...own];
}
