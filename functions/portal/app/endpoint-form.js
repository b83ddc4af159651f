// @ts-check
/** The fields of an endpoint: for adding one and for changing one. */
import { html, useEffect, useRef, useState } from './preact.js';
import { all, reasons } from './api.js';
import { session } from './session.js';
import { Icon } from './icons.js';
import { Button, Choice, Line, Segments, useWork } from './ui.js';
import { json, jsonProblem } from './code.js';
import { AWS_FIELDS, AwsFields, fieldsOf, isAws, kindName, kinds } from './endpoint-aws.js';
import FilterField from './endpoint-filter.js';
import TypePicker from './typepicker.js';
import { t } from './i18n.js';

/** @typedef {{kind: string, url: string, arn: string, roleArn: string, region: string, fifoKey: string, format: string, keyTemplate: string, description: string, eventTypes: string[], channels: string, rateLimit: string, uid: string, metadata: [string, string][], headers: [string, string][], secret: string, filter: string, retries: string, schedule: string, autoEnable: boolean, headerStyle: boolean, fifo: boolean, orderKey: string, batchSize: string, maxWaitSecs: string, attempts: string, minSeconds: string, maxSeconds: string, jitter: string}} Values */

/** @param {any} [endpoint] @returns {Values} */
export function values(endpoint = {}) {
  const policy = endpoint.retryPolicy || {};
  const text = (/** @type {any} */ value) => String(value ?? '');
  const { kind = 'http', arn, roleArn, region, fifoKey, format, keyTemplate } = endpoint.destination || {};
  return {
    kind, arn: text(arn), roleArn: text(roleArn), region: text(region), fifoKey: text(fifoKey), format: text(format), keyTemplate: text(keyTemplate), url: endpoint.url || '', description: endpoint.description || '', eventTypes: endpoint.eventTypes || [], channels: (endpoint.channels || []).join(', '),
    rateLimit: text(endpoint.rateLimit), autoEnable: !!endpoint.autoEnable, headerStyle: !!endpoint.headerStyle, fifo: !!endpoint.fifo, orderKey: text(endpoint.fifoKey), batchSize: text(endpoint.batchSize), maxWaitSecs: text(endpoint.maxWaitSecs), uid: endpoint.uid || '', metadata: Object.entries(endpoint.metadata || {}), headers: [], secret: '', filter: endpoint.filter ? json(endpoint.filter, 2) : '',
    retries: policy.schedule ? 'list' : policy.attempts ? 'double' : '', schedule: (policy.schedule || []).join(', '), attempts: text(policy.attempts), minSeconds: text(policy.minSeconds), maxSeconds: text(policy.maxSeconds), jitter: text(policy.jitter),
  };
}

/** Where the keys are that verify HTTP message signatures. */
export const keysUrl = () => `${session.base || location.origin}/.well-known/jwks.json?org=${session.who?.envId}`;

/** Words of a list, as people separate them. @param {string} text */
const parts = (text) => text.split(/[\s,]+/).filter(Boolean);

/** A number, or what was typed instead: the server says what is wrong with it. @param {string} text */
const number = (text) => (text.trim() ? (Number.isNaN(Number(text)) ? text : Number(text)) : undefined);

/** @param {Values} v */
const policyOf = (v) => v.retries && { ...(v.retries === 'list' ? { schedule: parts(v.schedule).map(number) } : { attempts: number(v.attempts), minSeconds: number(v.minSeconds), maxSeconds: number(v.maxSeconds) }), jitter: number(v.jitter) };

/** Where messages go, if not to a URL. @param {Values} v */
const destinationOf = (v) => (v.kind === 'http' ? undefined : { kind: v.kind, ...(isAws(v.kind) && Object.fromEntries(fieldsOf(v.kind).map((name) => [name, v[name].trim()]).filter(([, value]) => value))) });

/** What says in which order. @type {('fifo' | 'orderKey' | 'batchSize' | 'maxWaitSecs')[]} */
const ORDER = ['fifo', 'orderKey', 'batchSize', 'maxWaitSecs'];

/** Whether a webhook can have several messages there. @param {Values} v */
const takesLists = (v) => v.fifo && (v.kind === 'http' || v.kind === 'lambda');

/** Whether any of these fields was changed. @param {Values} v @param {Values} start @param {(keyof Values)[]} names */
const differs = (v, start, ...names) => names.some((name) => JSON.stringify(v[name]) !== JSON.stringify(start[name]));

/** In which order, where that changes. @param {Values} v @param {Values} start */
const orderOf = (v, start) => !differs(v, start, ...ORDER) || v.kind === 'polling' ? {} : { fifo: v.fifo, fifoKey: v.fifo ? v.orderKey.trim() || (start.orderKey ? null : undefined) : undefined, ...(takesLists(v) && { batchSize: number(v.batchSize) ?? null, maxWaitSecs: number(v.maxWaitSecs) ?? null }) };

/** What was changed, as the API takes it, as text: a filter is sent as it is written. What others changed meanwhile stays. @param {Values} v @param {Values} start @param {any} [more] */
export function body(v, start, more) {
  const changed = (/** @type {(keyof Values)[]} */ ...names) => differs(v, start, ...names);
  const http = v.kind === 'http';
  const fields = {
    url: http && changed('url') ? v.url.trim() : undefined,
    destination: changed('kind', ...AWS_FIELDS) ? destinationOf(v) : undefined,
    description: changed('description') ? v.description : undefined,
    eventTypes: changed('eventTypes') ? (v.eventTypes.length ? v.eventTypes : null) : undefined,
    channels: changed('channels') ? (v.channels.trim() ? parts(v.channels) : null) : undefined,
    uid: changed('uid') ? v.uid || null : undefined,
    metadata: changed('metadata') ? Object.fromEntries(v.metadata.filter(([name]) => name)) : undefined,
    autoEnable: http && changed('autoEnable') ? v.autoEnable : undefined,
    headerStyle: http && changed('headerStyle') ? (v.headerStyle ? 'rfc9421' : null) : undefined,
    ...orderOf(v, start),
    ...(v.kind !== 'polling' && {
      rateLimit: changed('rateLimit') ? number(v.rateLimit) ?? null : undefined,
      retryPolicy: changed('retries', 'schedule', 'attempts', 'minSeconds', 'maxSeconds', 'jitter') ? policyOf(v) || null : undefined,
      ...more,
    }),
  };
  return `{${[JSON.stringify(fields).slice(1, -1), changed('filter') && `"filter":${v.filter.trim() || 'null'}`].filter(Boolean)}}`;
}

/** What is wrong with an address, before the server says it. @param {string} url */
function urlProblem(url) {
  if (!url) return '';
  try {
    const parsed = new URL(url);
    return /^(https?|arn):$/.test(parsed.protocol) ? '' : t('urlScheme');
  } catch {
    return /^[\w.-]+(:\d+)?(\/|$)/.test(url) ? t('urlMean', { url: 'https://' + url }) : t('urlBad');
  }
}

/** Those of a connector's event types that exist for who asks: another may be made later, or be for others. @param {string[]} only */
async function existing(only) {
  const { items, more } = await all('/event-type', { with_content: false });
  const known = new Set(items.map((type) => type.name));
  const found = more ? only : only.filter((name) => known.has(name));
  if (!found.length) throw new Error(t('noneExists', { names: only.join(', ') }));
  return found;
}

/** Names and values, a row each; of those that are `fixed` nobody sees the value. @param {{label: string, pairs: [string, string][], set: (pairs: [string, string][]) => void, fixed?: string[], drop?: (name: string) => void}} props */
export function Pairs({ label, pairs, set, fixed = [], drop }) {
  const edit = (/** @type {number} */ at, /** @type {number} */ part, /** @type {string} */ text) => set(pairs.map((pair, i) => /** @type {[string, string]} */ (i === at ? (part ? [pair[0], text] : [text, pair[1]]) : pair)));
  const remove = (/** @type {() => void} */ click) => html`<${Button} icon="x" kind="ghost" small label=${t('remove')} onClick=${click} />`;
  const input = (/** @type {number} */ i, /** @type {number} */ part) => html`<input class="in mono" aria-label=${t(part ? 'value' : 'name')} placeholder=${t(part ? 'value' : 'name')} value=${pairs[i][part]} onInput=${(/** @type {any} */ e) => edit(i, part, e.target.value)} />`;
  return html`<fieldset class="field"><legend>${label}</legend><div class="col tight">
    ${fixed.map((name) => html`<div class="row nowrap"><span class="tag grow">${name}</span><span class="dim grow">••••••••</span>${remove(() => drop?.(name))}</div>`)}
    ${pairs.map((_, i) => html`<div class="row nowrap">${input(i, 0)}${input(i, 1)}${remove(() => set(pairs.filter((_, at) => at !== i)))}</div>`)}
    <div><${Button} small icon="plus" onClick=${() => set([...pairs, ['', '']])}>${t('add')}<//></div></div></fieldset>`;
}

/** Fields that are folded until somebody wants them. @type {(keyof Values)[]} */
const FOLDED = ['channels', 'rateLimit', 'uid', 'filter', 'retries', 'autoEnable', 'headerStyle', ...ORDER];

/**
 * @param {{app: any, start: Values, isNew?: boolean, connector?: any, save: (v: Values) => Promise<any>, yes: string, cancel?: any}} props
 */
export default function EndpointForm({ app, start, isNew, connector, save, yes, cancel }) {
  // What was edited; all else is as the endpoint is now, whoever changed it.
  const [edits, edit] = useState(/** @type {Partial<Values>} */ ({}));
  const saved = useRef(/** @type {Record<string, any>} */ ({}));
  const typed = { ...start, ...edits };
  useEffect(() => edit((old) => Object.fromEntries(Object.entries(old).filter(([name, value]) => saved.current[name] !== value))), [JSON.stringify(start)]);
  /** Event types that the connector allows, if it does not allow all. @type {string[] | undefined} */
  const only = connector?.allowedEventTypes;
  const v = connector ? { ...typed, kind: 'http', eventTypes: only ? typed.eventTypes.filter((name) => only.includes(name)) : typed.eventTypes } : typed;
  const [error, fail] = useState(/** @type {any} */ (null));
  const [busy, run] = useWork(async (/** @type {Values} */ v) => {
    fail(null);
    try {
      await save(only && !v.eventTypes.length ? { ...v, eventTypes: await existing(only) } : v);
      saved.current = edits;
    } catch (failed) {
      fail(failed);
      // What is wrong may be among the folded fields.
      if ([...FOLDED, 'retryPolicy', 'secret', 'metadata', 'headers'].some((name) => reasons(failed)[name])) open(true);
    }
  });
  const [more, open] = useState(!isNew && (FOLDED.some((name) => start[name]) || start.metadata.length > 0));
  const set = (/** @type {Partial<Values>} */ part) => {
    edit((old) => ({ ...old, ...part }));
    if (error) fail(null);
  };
  const why = reasons(error);
  const known = ['url', ...AWS_FIELDS, 'description', 'eventTypes', 'filterTypes', 'secret', 'retryPolicy', ...FOLDED];
  const rest = error && !Object.keys(why).some((name) => known.includes(name)) ? error.message : '';
  const line = (/** @type {keyof Values} */ name, /** @type {any} */ props = {}) => html`<${props.options ? Choice : Line} label=${t(name)} why=${why[name]} spellcheck=${false} ...${props} value=${v[name]} set=${(/** @type {string} */ text) => set({ [name]: text })} />`;
  const check = (/** @type {'autoEnable' | 'headerStyle' | 'fifo'} */ name, /** @type {string} */ hint) => html`<label class="check"><input type="checkbox" checked=${v[name]} onChange=${(/** @type {any} */ e) => set({ [name]: e.target.checked })} /><span>${t(name)}${why[name] && html`<br /><span class="why">${why[name]}</span>`}<br /><span class="hint wrapany">${hint}</span></span></label>`;
  const whole = (/** @type {keyof Values} */ name, most = 604800, props = {}) => line(name, { type: 'number', min: 1, max: most, ...props });
  const sends = v.kind !== 'polling';
  const bad = (v.kind === 'http' && urlProblem(v.url)) || (v.filter.trim() && jsonProblem(v.filter));
  return html`<form class="card" onSubmit=${(/** @type {Event} */ e) => { e.preventDefault(); run(v); }}><div class="pad col">
    ${isNew && !connector && html`<div class="field"><span class="lab">${t('kind')}</span><div><${Segments} label=${t('kind')} value=${v.kind} set=${(/** @type {string} */ kind) => set({ kind })} options=${kinds().map((kind) => [kind, kindName(kind)])} /></div></div>`}
    ${isAws(v.kind) ? html`<${AwsFields} app=${app} v=${v} line=${line} />` : sends ? line('url', { hint: t('urlHint'), why: urlProblem(v.url) || why.url, cls: 'mono', placeholder: 'https://example.com/webhooks', required: true, autocomplete: 'url', dir: 'ltr' }) : html`<p class="hint">${t('pollAbout')}</p>`}
    ${line('description', { maxlength: 4096, spellcheck: true })}
    <fieldset class="field"><legend>${t('subscribeTo')}</legend><${TypePicker} only=${only} value=${v.eventTypes} set=${(/** @type {string[]} */ eventTypes) => set({ eventTypes })} />${(why.eventTypes || why.filterTypes) && html`<div class="why">${why.eventTypes || why.filterTypes}</div>`}</fieldset>
    <details class="fold" open=${more} onToggle=${(/** @type {any} */ e) => open(e.target.open)}><summary class="lab"><span class="row tight"><${Icon} name=${more ? 'down' : 'chevron'} size=${14} />${t('advanced')}</span></summary><div class="col pad">
      ${more && html`<${FilterField} app=${app} value=${v.filter} set=${(/** @type {string} */ filter) => set({ filter })} why=${why.filter} types=${v.eventTypes} />`}
      ${sends && html`<${Choice} label=${t('retries')} why=${why.retryPolicy} value=${v.retries} set=${(/** @type {string} */ retries) => set({ retries })} options=${[['', t('retries_usual')], ['list', t('retries_list')], ['double', t('retries_double')]]} />
      ${v.retries && html`<div class="grid2">${v.retries === 'list' ? line('schedule', { hint: t('scheduleHint'), placeholder: '5, 300, 1800' }) : html`${whole('attempts', 16, { required: true })}${whole('minSeconds')}${whole('maxSeconds')}`}${whole('jitter', 50, { min: 0 })}</div>`}`}
      ${v.kind === 'http' && [check('autoEnable', t('autoEnableHint')), check('headerStyle', t('headerStyleHint', { url: keysUrl() }))]}${sends && check('fifo', t('fifoHint'))}${sends && v.fifo && line('orderKey', { hint: t('orderKeyHint'), placeholder: '/customer/id', cls: 'mono', dir: 'ltr' })}${takesLists(v) && html`<div class="grid2">${whole('batchSize', 1000, { hint: t('batchSizeHint') })}${whole('maxWaitSecs', 300, { min: 0 })}</div>`}
      <div class="grid2">${sends && whole('rateLimit', 65535, { hint: t('rateLimitHint') })}${line('uid', { hint: t('uidHint') })}</div>
      ${line('channels', { hint: t('channelsHint') })}
      ${isNew && sends && line('secret', { label: t('ownSecret'), hint: t('ownSecretHint'), autocomplete: 'off', placeholder: 'whsec_…' })}
      <${Pairs} label=${t('metadata')} pairs=${v.metadata} set=${(/** @type {any} */ metadata) => set({ metadata })} />
      ${isNew && v.kind === 'http' && html`<${Pairs} label=${t('headers')} pairs=${v.headers} set=${(/** @type {any} */ headers) => set({ headers })} />`}</div></details>
    ${rest && html`<div class="note bad" role="alert">${rest}</div>`}</div>
    <div class="dlg-f">${cancel}<${Button} kind="primary" type="submit" busy=${busy} disabled=${!!bad}>${yes}<//></div></form>`;
}
