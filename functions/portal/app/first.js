// @ts-check
/** The first minute: one button, and a signed message arrives. */
import { html, useEffect, useState } from './preact.js';
import { call, change } from './api.js';
import { session } from './session.js';
import { href } from './router.js';
import { Icon } from './icons.js';
import { Button, Failure, LinkButton, useWork } from './ui.js';
import { Block, pretty } from './code.js';
import { answered } from './endpoint-test.js';
import { sign } from './verify.js';
import { duration, t } from './i18n.js';

const TYPE = 'invoice.paid';
const EXAMPLE = { id: 'inv_1042', amount: 12900, currency: 'EUR', customer: { id: 'cus_7', name: 'Ada Lovelace' }, paid: true };
const SCHEMA = { 1: { type: 'object', title: 'Invoice paid', required: ['id', 'amount', 'currency'], properties: { id: { type: 'string', description: 'The invoice' }, amount: { type: 'integer', minimum: 0, description: 'In cents' }, currency: { type: 'string', enum: ['EUR', 'USD'] }, customer: { type: 'object', properties: { id: { type: 'string' }, name: { type: 'string' } } }, paid: { type: 'boolean' } }, examples: [EXAMPLE] } };

/** A path on the server that the API is on. @param {string} path */
async function dev(path) {
  const response = await fetch(session.base + path, { credentials: 'omit' });
  if (!response.ok) throw new Error(String(response.status));
  return response.json();
}

export default function FirstRun() {
  const [receiver, found] = useState('');
  const [steps, set] = useState(/** @type {string[]} */ ([]));
  const [error, fail] = useState(/** @type {any} */ (null));
  const [got, arrive] = useState(/** @type {any} */ (null));
  useEffect(() => void dev('/dev/config.json').then((config) => found(config.receiver), () => found('-')), []);
  const local = receiver && receiver !== '-';
  const [busy, run] = useWork(async () => {
    fail(null);
    set([]);
    const say = (/** @type {string} */ step) => set((old) => [...old, step]);
    try {
      const app = await call('POST', '/app?get_if_exists=true', { body: { name: 'Demo', uid: 'demo' } });
      say('s_app');
      await call('PUT', '/event-type/' + TYPE, { body: { description: 'An invoice was paid in full.', groupName: 'Billing', schemas: SCHEMA } });
      say('s_type');
      const endpoint = await call('PUT', '/app/demo/endpoint/receiver', { body: { url: receiver, description: 'Built-in receiver' } });
      say('s_endpoint');
      const { key } = await call('GET', '/app/demo/endpoint/receiver/secret');
      const message = await change('POST', '/app/demo/msg', { eventType: TYPE, payload: EXAMPLE });
      say('s_message');
      const attempt = await answered('/app/' + app.id, endpoint.id, message.id);
      if (attempt.status !== 0) throw new Error(attempt.response || String(attempt.responseStatusCode));
      say('s_arrived');
      const { data } = await dev('/dev/receiver/requests?id=' + message.id);
      const headers = Object.fromEntries(data[0].headers.map((/** @type {string[]} */ [name, value]) => [name.toLowerCase(), value]));
      const prefix = headers['webhook-id'] ? 'webhook-' : 'svix-';
      const signed = await sign(key, headers[prefix + 'id'], headers[prefix + 'timestamp'], data[0].body);
      if (!headers[prefix + 'signature'].split(' ').includes(signed)) throw new Error(t('badSignature'));
      say('s_verified');
      arrive({ app, message, attempt, body: data[0].body, headers, prefix });
    } catch (failed) {
      fail(failed);
    }
  });
  return html`<div class="hero"><div><h1>${t('firstTitle')}</h1></div><p>${t(local ? 'firstText' : 'firstCloud')}</p>
    ${local ? html`${!got && html`<${Button} kind="primary big" icon="send" busy=${busy} onClick=${run}>${t('firstButton')}<//>`}` : receiver && html`<${Block} text=${`curl ${location.origin}/api/v1/app \\\n  -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\\n  -d '{"name": "Demo", "uid": "demo"}'`} />`}
    <div aria-live="polite" class="col">${steps.length > 0 && html`<ol class="time card pad">${steps.map((step) => html`<li class="fresh" key=${step}><span class="dot ok"><${Icon} name="check" size=${13} /></span><span>${t(step)}${step === 's_arrived' && got ? html` <span class="dim num">${duration(got.attempt.responseDurationMs)}</span>` : ''}</span></li>`)}${busy && html`<li><span class="dot"><${Icon} name="refresh" size=${13} spin /></span><span class="dim">${t('waiting')}</span></li>`}</ol>`}
      ${error && html`<${Failure} error=${error} retry=${run} />`}
      ${got && html`<div class="card"><header><h2>${t('arrived')}</h2><span class="pill ok"><${Icon} name="shield" size=${13} />${t('verified')}</span></header><div class="pad col"><dl class="kv small mono">${['id', 'timestamp', 'signature'].map((name) => html`<dt>${got.prefix + name}</dt><dd>${got.headers[got.prefix + name]}</dd>`)}</dl><${Block} text=${pretty(got.body)} json label=${t('payload')} /></div></div>
        <div class="row"><${LinkButton} kind="primary" href=${href(`/app/${got.app.id}/messages/${got.message.id}`)}>${t('seeMessage')}<//><${LinkButton} href=${href(`/app/${got.app.id}/endpoints`)}>${t('endpoints')}<//><${LinkButton} href="#/types">${t('eventTypes')}<//></div>`}</div></div>`;
}
