// @ts-check
/** The fields of an endpoint: for adding one and for changing one. */
import { html, useState } from './preact.js';
import { ApiError } from './api.js';
import { Icon } from './icons.js';
import { Button, Field } from './ui.js';
import TypePicker from './typepicker.js';
import { t } from './i18n.js';

/** @typedef {{url: string, description: string, eventTypes: string[], channels: string, rateLimit: string, uid: string, metadata: [string, string][], headers: [string, string][], secret: string}} Values */

/** @param {any} [endpoint] @returns {Values} */
export const values = (endpoint = {}) => ({
  url: endpoint.url || '', description: endpoint.description || '', eventTypes: endpoint.eventTypes || [], channels: (endpoint.channels || []).join(', '),
  rateLimit: String(endpoint.rateLimit || ''), uid: endpoint.uid || '', metadata: Object.entries(endpoint.metadata || {}), headers: [], secret: '',
});

/** What the API takes. @param {Values} v */
export const body = (v) => ({
  url: v.url.trim(), description: v.description, eventTypes: v.eventTypes.length ? v.eventTypes : null,
  channels: v.channels.trim() ? v.channels.split(/[\s,]+/).filter(Boolean) : null,
  rateLimit: v.rateLimit ? Number(v.rateLimit) : null, uid: v.uid || null, metadata: Object.fromEntries(v.metadata.filter(([name]) => name)),
});

/** What is wrong with an address, before the server says it. @param {string} url */
function urlProblem(url) {
  if (!url) return '';
  try {
    const parsed = new URL(url);
    return /^https?:$/.test(parsed.protocol) ? '' : t('urlScheme');
  } catch {
    return /^[\w.-]+(:\d+)?(\/|$)/.test(url) ? t('urlMean', { url: 'https://' + url }) : t('urlBad');
  }
}

/** The server's reasons, by field. @param {any} error @returns {Record<string, string>} */
export function reasons(error) {
  if (!(error instanceof ApiError)) return {};
  /** @type {Record<string, string>} */
  const found = {};
  for (const each of error.violations) found[/** @type {string} */ (each.loc.slice(1).find((part) => typeof part === 'string' && part !== 'body')) || ''] ||= each.msg;
  return found;
}

/** Names and values, a row each. @param {{label: string, pairs: [string, string][], set: (pairs: [string, string][]) => void, fixed?: string[]}} props */
export function Pairs({ label, pairs, set, fixed = [] }) {
  const edit = (/** @type {number} */ at, /** @type {number} */ part, /** @type {string} */ text) => set(pairs.map((pair, i) => /** @type {[string, string]} */ (i === at ? (part ? [pair[0], text] : [text, pair[1]]) : pair)));
  return html`<fieldset class="field"><legend>${label}</legend><div class="col tight">
    ${fixed.map((name) => html`<div class="row nowrap"><span class="tag grow">${name}</span><span class="dim grow">••••••••</span></div>`)}
    ${pairs.map(([name, value], i) => html`<div class="row nowrap"><input class="in mono" aria-label=${t('name')} placeholder=${t('name')} value=${name} onInput=${(/** @type {any} */ e) => edit(i, 0, e.target.value)} /><input class="in mono" aria-label=${t('value')} placeholder=${t('value')} value=${value} onInput=${(/** @type {any} */ e) => edit(i, 1, e.target.value)} /><${Button} icon="x" kind="ghost" small label=${t('remove')} onClick=${() => set(pairs.filter((_, at) => at !== i))} /></div>`)}
    <div><${Button} small icon="plus" onClick=${() => set([...pairs, ['', '']])}>${t('add')}<//></div></div></fieldset>`;
}

/**
 * @param {{start: Values, isNew?: boolean, save: (v: Values) => Promise<any>, yes: string, cancel?: any, check?: (v: Values) => Promise<any>}} props
 */
export default function EndpointForm({ start, isNew, save, yes, cancel }) {
  const [v, setAll] = useState(start);
  const [error, fail] = useState(/** @type {any} */ (null));
  const [busy, work] = useState(false);
  const [more, open] = useState(!isNew && !!(start.channels || start.rateLimit || start.uid || start.metadata.length));
  const set = (/** @type {Partial<Values>} */ part) => {
    setAll({ ...v, ...part });
    if (error) fail(null);
  };
  const why = reasons(error);
  const known = ['url', 'description', 'eventTypes', 'filterTypes', 'channels', 'rateLimit', 'uid', 'secret'];
  const rest = error && !Object.keys(why).some((name) => known.includes(name)) ? error.message : '';
  const submit = async (/** @type {Event} */ e) => {
    e.preventDefault();
    work(true);
    try {
      await save(v);
    } catch (failed) {
      fail(failed);
      // What is wrong may be among the folded fields.
      if (['channels', 'rateLimit', 'uid', 'secret', 'metadata', 'headers'].some((name) => reasons(failed)[name])) open(true);
    } finally {
      work(false);
    }
  };
  const input = (/** @type {keyof Values} */ name, /** @type {any} */ props = {}) => (/** @type {any} */ p) => html`<input class="in" ...${p} ...${props} value=${v[name]} onInput=${(/** @type {any} */ e) => set({ [name]: e.target.value })} />`;
  return html`<form class="card" onSubmit=${submit}><div class="pad col">
    <${Field} label=${t('url')} hint=${t('urlHint')} why=${urlProblem(v.url) || why.url}>${input('url', { class: 'in mono', placeholder: 'https://example.com/webhooks', required: true, spellcheck: false, autocomplete: 'url', dir: 'ltr' })}<//>
    <${Field} label=${t('description')} why=${why.description}>${input('description', { maxlength: 4096 })}<//>
    <fieldset class="field"><legend>${t('subscribeTo')}</legend><${TypePicker} value=${v.eventTypes} set=${(/** @type {string[]} */ eventTypes) => set({ eventTypes })} />${(why.eventTypes || why.filterTypes) && html`<div class="why">${why.eventTypes || why.filterTypes}</div>`}</fieldset>
    <details class="fold" open=${more} onToggle=${(/** @type {any} */ e) => open(e.target.open)}><summary class="lab"><span class="row tight"><${Icon} name=${more ? 'down' : 'chevron'} size=${14} />${t('advanced')}</span></summary><div class="col pad">
      <div class="grid2"><${Field} label=${t('rateLimit')} hint=${t('rateLimitHint')} why=${why.rateLimit}>${input('rateLimit', { type: 'number', min: 1, max: 65535 })}<//>
      <${Field} label=${t('uid')} hint=${t('uidHint')} why=${why.uid}>${input('uid', { spellcheck: false })}<//></div>
      <${Field} label=${t('channels')} hint=${t('channelsHint')} why=${why.channels}>${input('channels', { spellcheck: false })}<//>
      ${isNew && html`<${Field} label=${t('ownSecret')} hint=${t('ownSecretHint')} why=${why.secret}>${input('secret', { spellcheck: false, autocomplete: 'off', placeholder: 'whsec_…' })}<//>`}
      <${Pairs} label=${t('metadata')} pairs=${v.metadata} set=${(/** @type {any} */ metadata) => set({ metadata })} />
      ${isNew && html`<${Pairs} label=${t('headers')} pairs=${v.headers} set=${(/** @type {any} */ headers) => set({ headers })} />`}</div></details>
    ${rest && html`<div class="note bad" role="alert">${rest}</div>`}</div>
    <div class="dlg-f">${cancel}<${Button} kind="primary" type="submit" busy=${busy} disabled=${!!urlProblem(v.url)}>${yes}<//></div></form>`;
}
