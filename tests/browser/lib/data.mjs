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

export const EMOJI = '🦊'.repeat(64) + '👩‍👩‍👧‍👦'.repeat(10);
export const NASTY = { html: '<script>document.title = "run"</script><img src=x onerror="document.title=2">', arabic: 'مرحبا بالعالم', long: 'x'.repeat(300) };
const LOOP = { $ref: '#', type: 'object', properties: { again: { $ref: '#' }, name: { type: 'string' } } };

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
  ]) await api('POST', '/event-type', { name, description: `${name}, described`, groupName, schemas: schema && { 1: schema } });
  const acme = await api('POST', '/app', { name: 'Acme', uid: 'acme' });
  const endpoint = (path, description) => api('POST', `/app/${acme.id}/endpoint`, { url: `${receivers.url}/${path}`, description });
  const endpoints = { ok: await endpoint('ok', 'Works'), fail: await endpoint('fail', 'Fails'), hang: await endpoint('hang', 'Hangs'), binary: await endpoint('binary', 'Binary'), script: await endpoint('script', NASTY.html) };
  const messages = [];
  for (const payload of [{ id: 'inv_1', amount: 100 }, { text: NASTY.html, arabic: NASTY.arabic, big: 12345678901234567890n.toString() }]) messages.push(await api('POST', `/app/${acme.id}/msg`, { eventType: 'invoice.paid', payload }));
  const big = await api('POST', `/app/${acme.id}/msg`, { eventType: 'user.created', payload: { text: 'y'.repeat(900_000) } });
  const odd = await api('POST', '/app', { name: [...EMOJI].slice(0, 120).join(''), uid: 'odd', metadata: { note: NASTY.html } });
  await api('POST', '/app', { name: NASTY.html, uid: 'html' });
  await api('POST', '/app', { name: NASTY.arabic, uid: 'arabic' });
  await api('POST', '/app', { name: 'Empty', uid: 'empty' });
  await eventually('attempts', async () => (await api('GET', `/app/${acme.id}/attempt/endpoint/${endpoints.fail.id}`)).data.length >= 3);
  return { acme, odd, endpoints, messages, big };
}

/** Every screen of an application, by its route below `base`. */
export const screens = ({ endpoints, messages }) => ({
  'endpoints': '/endpoints', 'add an endpoint': '/endpoints/new', 'endpoint': `/endpoints/${endpoints.fail.id}`, 'endpoint: deliveries': `/endpoints/${endpoints.fail.id}/deliveries`,
  'endpoint: test': `/endpoints/${endpoints.ok.id}/test`, 'endpoint: settings': `/endpoints/${endpoints.ok.id}/settings`, 'endpoint: secret': `/endpoints/${endpoints.ok.id}/secret`, 'endpoint: recovery': `/endpoints/${endpoints.fail.id}/recovery`,
  'deliveries': '/deliveries', 'needs me': '/deliveries?view=needs', 'message': `/messages/${messages[0].id}`, 'event types': '/event-types', 'an event type': '/event-types/invoice.paid', 'live': '/live', 'recovery': '/recovery', 'nothing': '/no-such-screen',
});
export const OPERATOR = { 'applications': '#/apps', 'failing endpoints': '#/attention', 'undelivered': '#/attention?view=messages', 'types': '#/types', 'a type': '#/types/invoice.paid', 'tasks': '#/tasks', 'audit events': '#/audit', 'theme': '#/theme', 'tokens': '#/token' };
