// @ts-check
/** Sending a test to one endpoint, with an example that can be edited; its answer is shown. */
import { html, useEffect, useState } from './preact.js';
import { can, operator } from './session.js';
import { call, change } from './api.js';
import { useGet } from './data.js';
import { href } from './router.js';
import { Button, Code, Failure, LinkButton, Select, Status, useWork } from './ui.js';
import { Answer, pretty } from './code.js';
import { useTypes } from './typepicker.js';
import { duration, t } from './i18n.js';

/** An example out of a type's schemas. @param {any} type */
export function example(type) {
  for (const schema of Object.values(type?.schemas || {}).reverse()) {
    const found = schema?.examples?.[0] ?? schema?.example;
    if (found) return found;
  }
  return null;
}

/** Waits for the attempt of a message at an endpoint. @param {string} path @param {string} endpoint @param {string} message */
export async function answered(path, endpoint, message) {
  for (let turn = 0; turn < 60; turn += 1) {
    const { data } = await call('GET', `${path}/msg/${message}/endpoint/${endpoint}/attempt`, { query: { limit: 1 } });
    if (data.length) return data[0];
    await new Promise((go) => setTimeout(go, turn < 10 ? 250 : 1000));
  }
  throw new Error(t('noAttemptYet'));
}

/** @param {{app: any, endpoint: any}} props */
export default function Test({ app, endpoint }) {
  const types = useTypes();
  const wanted = endpoint.eventTypes || [];
  const names = wanted.length ? wanted : (types.items || []).map((type) => type.name);
  const [name, choose] = useState('');
  const type = name || names[0] || 'test.event';
  const detail = useGet(types.items?.some((each) => each.name === type) ? `/event-type/${encodeURIComponent(type)}` : null);
  const [text, edit] = useState('');
  const [attempt, set] = useState(/** @type {any} */ (null));
  useEffect(() => edit(JSON.stringify(example(detail.data) || { type, test: true, at: new Date().toISOString() }, null, 2)), [type, detail.data]);
  let bad = '';
  /** @type {any} */
  let payload;
  try {
    payload = JSON.parse(text || '{}');
    if (!payload || typeof payload !== 'object' || Array.isArray(payload)) bad = t('mustObject');
  } catch (error) {
    bad = String(/** @type {Error} */ (error).message);
  }
  const [busy, send] = useWork(async () => {
    set(null);
    // The type's example goes to this endpoint alone. An edited one is posted as a message, which an
    // organisation may do, and goes to every endpoint that wants it.
    const own = !operator() || (example(detail.data) && JSON.stringify(example(detail.data)) === JSON.stringify(payload));
    const message = own ? await change('POST', `${app.path}/endpoint/${endpoint.id}/send-example`, { eventType: type })
      : await change('POST', app.path + '/msg', { eventType: type, payload, tags: ['test'] });
    const got = await answered(app.path, endpoint.id, message.id);
    set({ ...got, message });
  });
  if (!can('CreateAttempts')) return html`<div class="note warn">${t('needs', { capability: 'CreateAttempts' })}</div>`;
  if (types.error) return html`<${Failure} error=${types.error} retry=${types.load} />`;
  return html`<div class="grid2"><div class="card"><header><h2>${t('testSend')}</h2><${Select} label=${t('eventType')} value=${type} set=${choose} options=${(names.length ? names : [type]).map((/** @type {string} */ n) => [n, n])} /></header><div class="pad col">
      <label class="sr" for="payload">${t('payload')}</label><textarea id="payload" rows="14" spellcheck=${false} dir="ltr" readonly=${!operator()} value=${text} aria-invalid=${bad ? 'true' : undefined} onInput=${(/** @type {any} */ e) => edit(e.target.value)}></textarea>
      ${bad && html`<p class="bad-t small" role="alert">${bad}</p>`}<p class="hint">${t(operator() ? 'testHint' : 'testHintOwn')}</p>
      <div class="row"><${Button} kind="primary" icon="send" busy=${busy} disabled=${!!bad || endpoint.disabled} onClick=${() => send()}>${t('sendTest')}<//>${operator() && html`<${Button} kind="ghost" onClick=${() => edit(pretty(text))}>${t('format')}<//>`}</div>
      ${endpoint.disabled && html`<p class="hint">${t('testDisabled')}</p>`}</div></div>
    <div class="card" aria-live="polite"><header><h2>${t('answer')}</h2>${attempt && html`<${Status} state=${attempt.statusText} />`}</header><div class="pad col">
      ${busy ? html`<p class="dim">${t('waiting')}</p>` : attempt ? html`<dl class="kv"><dt>${t('answer')}</dt><dd><${Code} code=${attempt.responseStatusCode} /></dd><dt>${t('duration')}</dt><dd>${duration(attempt.responseDurationMs)}</dd></dl><${Answer} text=${attempt.response} /><div class="row"><${LinkButton} small href=${href(`${app.base}/messages/${attempt.msgId}`)}>${t('openMessage', { id: '' })}<//></div>` : html`<p class="dim">${t('testEmpty')}</p>`}</div></div></div>`;
}
