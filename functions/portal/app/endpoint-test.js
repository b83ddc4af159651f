// @ts-check
/** Sending a test to one endpoint, with an example that can be edited; its answer is shown. */
import { html, useState } from './preact.js';
import { can } from './session.js';
import { call, change } from './api.js';
import { useGet } from './data.js';
import { href } from './router.js';
import { Button, Code, Failure, isSentTo, LinkButton, Select, Skeleton, Status, useWork } from './ui.js';
import { Answer, json, jsonProblem, pretty } from './code.js';
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

/** What an endpoint gets instead of a payload as it was posted, in words; nothing where it gets just that. @param {string} path @param {any} endpoint */
export function useAltered(path, endpoint) {
  const code = useGet(endpoint && isSentTo(endpoint) && can('ManageTransformations') ? path + '/transformation' : null);
  return [code.data?.enabled && t('transformed'), endpoint?.batchSize > 1 && t('inList')].filter(Boolean).join(' ');
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

/** The type of a test where there are none. The API knows its example. */
const PING = { name: 'svix.ping', example: { type: 'svix.ping', success: true } };

/** Whether a subscription is to a type: by its name, or by a pattern, where a star stands for the rest of its segment, at the end for all that follows. @param {string} wanted @param {string} name */
const covers = (wanted, name) => new RegExp(`^${wanted.split('.').map((part, at, all) => part.replace(/[^*\w]/g, '\\$&').replace(/\*$/, at < all.length - 1 ? '[^.]*' : '.*')).join('\\.')}$`).test(name);

/** @param {{app: any, endpoint: any, path: string}} props */
export default function Test({ app, endpoint, path }) {
  const types = useTypes();
  const altered = useAltered(path, endpoint);
  /** @type {string[]} */
  const wanted = endpoint.eventTypes || [];
  const known = (types.items || []).map((type) => type.name);
  // One that is archived is not among those that are listed.
  const names = wanted.length ? [...new Set(wanted.flatMap((each) => (each.includes('*') ? known.filter((name) => covers(each, name)) : each)))] : known;
  const [name, choose] = useState('');
  const type = name || names[0] || PING.name;
  const detail = useGet(types.items?.some((each) => each.name === type) ? `/event-type/${encodeURIComponent(type)}` : null);
  const [edited, set] = useState({ of: '', text: '' });
  const [attempt, show] = useState(/** @type {any} */ (null));
  // Who may see the secret could sign any payload; others send the example as it is.
  const own = can('ViewEndpointSecret');
  const given = type === PING.name ? PING.example : example(detail.data);
  const start = json(given || (own && { type, test: true }) || undefined, 2);
  // What was edited is of one example, and goes with it.
  const text = edited.of === type + start ? edited.text : start;
  const edit = (/** @type {string} */ now) => set({ of: type + start, text: now });
  const bad = jsonProblem(text);
  const none = !own && !given;
  const [busy, send] = useWork(async () => {
    show(null);
    // As text: what is sent is what was written.
    const payload = given && text === start ? '' : `,"payload":${text}`;
    const message = await change('POST', `${app.path}/endpoint/${endpoint.id}/send-example`, `{"eventType":${JSON.stringify(type)}${payload}}`);
    const got = await answered(app.path, endpoint.id, message.id);
    show(got);
  });
  if (!can('CreateAttempts')) return html`<div class="note warn">${t('needs', { capability: 'CreateAttempts' })}</div>`;
  if (types.error) return html`<${Failure} error=${types.error} retry=${types.load} />`;
  if (!types.items || detail.loading) return html`<div class="card"><${Skeleton} /></div>`;
  return html`<div class="grid2"><div class="card"><header><h2>${t('testSend')}</h2><${Select} label=${t('eventType')} value=${type} set=${choose} options=${(names.length ? names : [type]).map((/** @type {string} */ n) => [n, n])} /></header><div class="pad col">
      ${none ? html`<p class="dim">${t('testNone')}</p>` : html`<label class="sr" for="payload">${t('payload')}</label><textarea id="payload" rows="14" spellcheck=${false} dir="ltr" readonly=${!own} value=${text} aria-invalid=${bad ? 'true' : undefined} aria-describedby="payload-why" onInput=${(/** @type {any} */ e) => edit(e.target.value)}></textarea>
      <div id="payload-why">${bad && html`<p class="bad-t small" role="alert">${bad}</p>`}<p class="hint">${t(own ? 'testHint' : 'testHintOwn')} ${altered}</p></div>`}
      <div class="row"><${Button} kind="primary" icon="send" busy=${busy} disabled=${none || !!bad || endpoint.disabled} onClick=${() => send()}>${t('sendTest')}<//>${own && html`<${Button} kind="ghost" disabled=${!!bad} onClick=${() => edit(pretty(text))}>${t('reformat')}<//>`}</div>
      ${endpoint.disabled && html`<p class="hint">${t('testDisabled')}</p>`}</div></div>
    <div class="card" aria-live="polite"><header><h2>${t('answer')}</h2>${attempt && html`<${Status} state=${attempt.statusText} />`}</header><div class="pad col">
      ${busy ? html`<p class="dim">${t('waiting')}</p>` : attempt ? html`<dl class="kv"><dt>${t('answer')}</dt><dd><${Code} code=${attempt.responseStatusCode} /></dd><dt>${t('duration')}</dt><dd>${duration(attempt.responseDurationMs)}</dd></dl><${Answer} text=${attempt.response} /><div class="row"><${LinkButton} small href=${href(`${app.base}/messages/${attempt.msgId}`)}>${t('openMessage', { id: '' })}<//></div>` : html`<p class="dim">${t('testEmpty')}</p>`}</div></div></div>`;
}
