// @ts-check
/** One message: its payload, and every attempt at every endpoint. */
import { html, useEffect, useState } from './preact.js';
import { can } from './session.js';
import { all, call, change, get, text } from './api.js';
import { useEvery, useGet, usePages } from './data.js';
import { href } from './router.js';
import { Icon } from './icons.js';
import { Button, Code, Empty, Failure, Head, look, More, Segments, Skeleton, Status, Url, useEach, useWork } from './ui.js';
import { Answer, Block, Copy, download, member, pretty } from './code.js';
import { Next } from './deliveries.js';
import { useAltered } from './endpoint-test.js';
import Verify, { curl, sign } from './verify.js';
import { bytes, date, duration, t } from './i18n.js';

/** The message, and its payload's text exactly as it was posted. @param {string} path */
function useMessage(path) {
  const [state, set] = useState(/** @type {{at?: string, data?: any, payload?: string, error?: any}} */ ({}));
  const [turn, again] = useState(0);
  useEffect(() => {
    const stop = new AbortController();
    text('GET', path, { signal: stop.signal }).then(
      (answer) => stop.signal.aborted || set({ at: path, data: JSON.parse(answer), payload: member(answer, 'payload') || '{}' }),
      (error) => stop.signal.aborted || set({ at: path, error }),
    );
    return () => stop.abort();
  }, [path, turn]);
  return { .../** @type {typeof state} */ (state.at === path ? state : {}), load: () => again((n) => n + 1) };
}

/** @param {{payload: string, id: string, gone: boolean}} props */
function Payload({ payload, id, gone }) {
  const [view, set] = useState('pretty');
  return html`<div class="card"><header><h2>${t('payload')} <span class="dim small">${bytes(new TextEncoder().encode(payload).length)}</span></h2><div class="row tight"><${Segments} label=${t('payload')} value=${view} set=${set} options=${[['pretty', t('pretty')], ['raw', t('asPosted')]]} /><${Button} small kind="ghost" icon="download" label=${t('download')} onClick=${() => download(payload, id + '.json')} /></div></header>
    <div class="pad">${gone ? html`<p class="dim">${t('payloadGone')}</p>` : html`<${Block} text=${view === 'raw' ? payload : pretty(payload)} json=${view !== 'raw'} wrapped=${view === 'raw'} name=${id + '.json'} label=${t('payload')} />`}</div></div>`;
}

/** @param {{title: string, list: [string, string][], masked?: string[]}} props */
const HeaderList = ({ title, list, masked = [] }) => html`<h3>${title}</h3>${list.length ? html`<dl class="kv small mono">${list.map(([name, value]) => html`<dt>${name}</dt><dd>${masked.includes(name) ? '••••••••' : value}</dd>`)}</dl>` : html`<p class="dim small">–</p>`}`;

/** An attempt's details, asked for when they are opened. @param {{path: string, attempt: any}} props */
function Details({ path, attempt }) {
  const headers = useGet(`${path}/attempt/${attempt.id}/headers`);
  return html`<div class="col pad">${attempt.response !== undefined && html`<h3>${t('answer')}</h3><${Answer} text=${attempt.response} />`}
    ${headers.error ? html`<${Failure} error=${headers.error} retry=${headers.reload} />` : !headers.data ? html`<${Skeleton} rows=${2} />` : html`<${HeaderList} title=${t('sentHeaders')} list=${headers.data.sentHeaders} masked=${headers.data.sensitive} /><${HeaderList} title=${t('answerHeaders')} list=${headers.data.responseHeaders} />`}</div>`;
}

/** @param {{path: string, attempt: any}} props */
function Attempt({ path, attempt }) {
  const [open, set] = useState(false);
  const [kind, icon] = look(attempt.statusText);
  return html`<li><span class=${'dot ' + kind}><${Icon} name=${icon} size=${13} /></span><details class="fold" onToggle=${(/** @type {any} */ e) => set(e.target.open)}><summary><span class="row small"><span class="sr">${t('st_' + attempt.statusText)}</span><${Code} code=${attempt.responseStatusCode} /><span class="dim num">${duration(attempt.responseDurationMs)}</span>${attempt.triggerType === 1 && html`<span class="tag">${t('byHand')}</span>`}<span class="dim" title=${attempt.id}>${date(attempt.timestamp)}</span><span class="dim"><${Icon} name=${open ? 'down' : 'chevron'} size=${14} /></span></span>
    ${!attempt.responseStatusCode && html`<span class="dim small wrapany">${attempt.response}</span>`}</summary>${open && html`<${Details} path=${path} attempt=${attempt} />`}</details></li>`;
}

/** How long a resend is looked for, in milliseconds: a receiver may take its time. */
const SOUGHT = 30_000;

/** A message at one endpoint. `known`: the endpoint as it is now, null if it was deleted, undefined before that is known. `sent`: what was resent to several. @param {{app: any, message: any, payload: string, endpoint: any, known: any, path: string, sent: {at: number, to: string[]}, style: (s: string) => void, changed: () => any}} props */
function Destination({ app, message, payload, endpoint, known, path, sent, style, changed }) {
  const altered = useAltered(`${app.path}/endpoint/${endpoint.id}`, known);
  const list = usePages(`${path}/endpoint/${endpoint.id}/attempt`, {}, 20);
  const [sought, seek] = useState({ until: 0, after: '' });
  const newest = list.items[0]?.id || '';
  // What is new is told from what was there: nothing can be resent before that is known.
  const follow = (/** @type {number} */ at) => seek({ until: at + SOUGHT, after: newest });
  useEffect(() => {
    if (!list.loading && sent.to.includes(endpoint.id)) follow(sent.at);
  }, [sent, list.loading]);
  useEvery(() => Promise.all([list.reload(), changed()]), sought.after === newest && Date.now() < sought.until ? 1 : null);
  const stamp = endpoint.statusText + endpoint.nextAttempt;
  useEffect(() => {
    if (list.items.length) list.reload();
  }, [stamp]);
  const [busy, resend] = useWork(async () => {
    await change('POST', `${path}/endpoint/${endpoint.id}/resend`);
    follow(Date.now());
  }, t('resent'));
  const request = async () => {
    const at = Math.floor(Date.now() / 1000);
    const first = list.items[0];
    const sent = first && (await call('GET', `${path}/attempt/${first.id}/headers`).catch(() => null));
    const svix = !!sent?.sentHeaders.some((/** @type {string[]} */ [name]) => name.toLowerCase() === 'svix-id') && !sent.sentHeaders.some((/** @type {string[]} */ [name]) => name.toLowerCase() === 'webhook-id');
    style(svix ? 'svix' : '');
    const prefix = svix ? 'svix' : 'webhook';
    const { key } = await call('GET', `${app.path}/endpoint/${endpoint.id}/secret`);
    if (key.startsWith('whpk_')) {
      if (!sent) throw new Error(t('verifyEd'));
      return curl(endpoint.url, sent.sentHeaders.filter((/** @type {string[]} */ [name]) => !/^(host|content-length|accept-encoding)$/i.test(name)), payload);
    }
    return curl(endpoint.url, [['content-type', 'application/json'], [prefix + '-id', message.id], [prefix + '-timestamp', String(at)], [prefix + '-signature', await sign(key, message.id, at, payload)]], payload);
  };
  return html`<div class="card"><header><div class="grow"><h2><a class="plain" href=${href(`${app.base}/endpoints/${endpoint.id}`)}><${Url} url=${endpoint.url} /></a></h2>${endpoint.description && html`<div class="dim small cut">${endpoint.description}</div>`}</div><div class="row tight"><${Status} state=${endpoint.statusText} />
      ${known === null && html`<span class="tag">${t('deleted')}</span>`}${can('ViewEndpointSecret') && !message.payload?.expired && known?.destination.kind === 'http' && !altered && html`<${Copy} text=${request} kind="">curl<//>`}${known !== null && can('CreateAttempts') && html`<${Button} small icon="send" busy=${busy} disabled=${busy || list.loading} onClick=${() => resend()}>${t('resend')}<//>`}</div></header>
    <div class="pad">${altered && html`<p class="hint">${altered}</p>`}${list.error && !list.items.length ? html`<${Failure} error=${list.error} retry=${list.reload} />` : list.loading ? html`<${Skeleton} rows=${2} />` : html`<ol class="time">${endpoint.nextAttempt && html`<li><span class="dot warn"><${Icon} name="clock" size=${13} /></span><span class="row small">${t('nextAttempt')} <${Next} at=${endpoint.nextAttempt} /></span></li>`}${list.items.map((a) => html`<${Attempt} key=${a.id} path=${path} attempt=${a} />`)}</ol>${!list.items.length && !endpoint.nextAttempt && html`<p class="dim">${t('noAttempts')}</p>`}<${More} list=${list} />`}</div></div>`;
}

/** @param {{app: any, id: string, route: any}} props */
export default function Message({ app, id }) {
  const path = `${app.path}/msg/${encodeURIComponent(id)}`;
  const { data, payload = '', error, load } = useMessage(path);
  const ends = usePages(path + '/endpoint', {}, 50);
  const [style, set] = useState('');
  const [sent, note] = useState({ at: 0, to: /** @type {string[]} */ ([]) });
  const unsettled = ends.items.some((e) => e.status === 1 || e.status === 3);
  useEvery(() => ends.reload(), unsettled && ends.items.length <= 50 ? 3 : null);
  // Those that the application has now: the others were deleted, and get nothing any more.
  const [there, know] = useState(/** @type {any} */ (undefined));
  useEffect(() => {
    if (ends.items.length) get(app.path + '/endpoint', { limit: 250 }).then(({ data, done }) => done && know(Object.fromEntries(data.map((/** @type {any} */ e) => [e.id, e]))), () => {});
  }, [app.path, ends.items.length]);
  const known = (/** @type {any} */ e) => there && (there[e.id] || null);
  const [sending, send] = useEach((id) => change('POST', `${path}/endpoint/${id}/resend`), t('resent'));
  const [looking, resendTo] = useWork(async (/** @type {boolean} */ onlyFailed) => {
    const { items } = await all(path + '/endpoint', {}, Infinity);
    const to = items.filter((e) => (!onlyFailed || e.status === 2) && known(e) !== null).map((e) => e.id);
    const failed = await send(to);
    note({ at: Date.now(), to: to.filter((id) => !failed?.includes(id)) });
  });
  const busy = sending || looking;
  const crumbs = [[t('deliveries'), href(app.base + '/deliveries')], [id]];
  if (error) return html`<${Head} crumbs=${crumbs} title=${t('message')} /><${Failure} error=${error} retry=${load} />`;
  if (!data) return html`<${Skeleton} />`;
  const alive = ends.items.filter((e) => known(e) !== null);
  const failed = alive.some((e) => e.status === 2);
  return html`<${Head} crumbs=${crumbs} title=${data.eventType} sub=${html`<span class="row tight"><span class="mono wrapany">${data.id}</span><${Copy} text=${data.id} /><span>${date(data.timestamp)}</span></span>`}>
      ${can('CreateAttempts') && alive.length > 1 && html`${failed && html`<${Button} icon="send" busy=${busy} onClick=${() => resendTo(true)}>${t('resendFailed')}<//>`}<${Button} icon="send" busy=${busy} onClick=${() => resendTo(false)}>${t('resendAll')}<//>`}<//>
    ${(data.eventId || data.tags?.length || data.channels?.length) && html`<div class="row">${data.eventId && html`<span class="tag" title=${t('eventId')}>${data.eventId}</span>`}${(data.channels || []).map((/** @type {string} */ c) => html`<span class="tag">${t('channel')}: ${c}</span>`)}${(data.tags || []).map((/** @type {string} */ c) => html`<span class="tag">${t('tag')}: ${c}</span>`)}</div>`}
    <div class="grid2"><div class="col">${ends.error && !ends.items.length ? html`<${Failure} error=${ends.error} retry=${ends.reload} />` : ends.loading ? html`<div class="card"><${Skeleton} rows=${3} /></div>` : ends.items.length ? html`${ends.items.map((e) => html`<${Destination} key=${e.id} app=${app} message=${data} payload=${payload} endpoint=${e} known=${known(e)} path=${path} sent=${sent} style=${set} changed=${ends.reload} />`)}<${More} list=${ends} />` : html`<div class="card"><${Empty} icon="endpoint" title=${t('nobody')}>${t('nobodyText')}<//></div>`}</div>
      <div class="col"><${Payload} payload=${payload} id=${data.id} gone=${data.payload?.expired === true} /><${Verify} style=${style} /></div></div>`;
}
