// @ts-check
/** What was sent: messages of an application or of one endpoint, and what became of them. */
import { html, useEffect, useMemo, useState } from './preact.js';
import { can } from './session.js';
import { all, change } from './api.js';
import { Kept, Rows, useAgain, useGet, useNow, usePages, useSeen } from './data.js';
import { filter, go, href } from './router.js';
import { Icon } from './icons.js';
import { Button, called, Code, Empty, Head, isSentTo, Listed, look, Pill, Range, Segments, Select, Status, Text, Time, useEach } from './ui.js';
import Undelivered from './undelivered.js';
import { date, duration, num, relative, t, zone } from './i18n.js';

/** Times to choose: hours back. @type {Record<string, number>} */
const SPANS = { '1h': 1, '24h': 24, '7d': 168, '28d': 672 };
const STATUS = { success: 0, fail: 2, sending: 3 };

/** @param {Record<string, string>} query */
export function span(query) {
  const hours = SPANS[query.span];
  // To the minute, so that the same filter is the same request.
  if (hours) return { after: new Date(Math.floor(Date.now() / 60000) * 60000 - hours * 3.6e6).toISOString() };
  // The route has moments: a link means the same in each zone.
  const iso = (/** @type {string} */ text) => {
    const at = new Date(text);
    return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
  };
  return { after: iso(query.from), before: iso(query.to) };
}

/** @param {{query: Record<string, string>, one: boolean, endpoints?: any[]}} props */
function Filters({ query, one, endpoints }) {
  const own = query.span === 'own' || query.from || query.to;
  const wide = one || query.endpoint;
  return html`<div class="row filters">
    ${!one && endpoints && html`<${Select} label=${t('endpoint')} value=${query.endpoint || ''} set=${(/** @type {string} */ v) => filter({ endpoint: v, status: v && query.status })} options=${[['', t('allEndpoints')], ...endpoints.filter(isSentTo).map((e) => [e.id, called(e)])]} />`}
    ${wide ? html`<${Segments} label=${t('status')} value=${query.status || ''} set=${(/** @type {string} */ v) => filter({ status: v })} options=${[['', t('all')], ...Object.keys(STATUS).map((s) => [s, t('st_' + s)])]} />` : ''}
    ${wide ? html`<${Select} label=${t('codeClass')} value=${query.class || ''} set=${(/** @type {string} */ v) => filter({ class: v })} options=${[['', t('codeClass')], ...['200', '300', '400', '500'].map((c) => [c, c[0] + 'xx']), ['0', t('noAnswer')]]} />` : ''}
    <${Select} label=${t('time')} value=${own ? 'own' : query.span || ''} set=${(/** @type {string} */ v) => filter({ span: v, from: '', to: '' })} options=${[['', t('anyTime')], ...Object.keys(SPANS).map((s) => [s, t('span_' + s)]), ['own', t('ownRange')]]} />
    <${Text} label=${t('eventType')} value=${query.type || ''} set=${(/** @type {string} */ v) => filter({ type: v })} /><${Text} label=${t('channel')} size=${9} value=${query.channel || ''} set=${(/** @type {string} */ v) => filter({ channel: v })} /><${Text} label=${t('tag')} size=${9} value=${query.tag || ''} set=${(/** @type {string} */ v) => filter({ tag: v })} /></div>
    ${own && html`<div class="row"><${Range} from=${query.from || ''} to=${query.to || ''} set=${(/** @type {any} */ part) => filter({ span: 'own', ...part })} /></div>`}`;
}

/** When the next attempt is. @param {{at: string | null | undefined}} props */
export function Next({ at }) {
  const now = useNow(at);
  return at ? html`<span class="warn-t row tight nowrap" title=${date(at)}><${Icon} name="clock" size=${13} />${new Date(at).getTime() > now ? relative(at, now) : t('soon')}</span>` : html`<span class="dim">–</span>`;
}

/** How a message does at all of its endpoints: a word where they agree, counts where they do not. @param {{list: any[]}} props */
const Summary = ({ list }) => {
  const states = ['success', 'sending', 'fail'].map((state) => ({ state, n: list.filter((each) => each.statusText === state).length })).filter(({ n }) => n);
  return html`<span class="row tight">${states.length === 1 ? html`<${Status} state=${states[0].state} />${list.length > 1 && html`<span class="dim small num">×${num(list.length)}</span>`}` : states.map(({ state, n }) => html`<${Pill} kind=${look(state)[0]} icon=${look(state)[1]} title=${t('st_' + state)}>${num(n)}<span class="sr"> ${t('st_' + state)}</span><//>`)}</span>`;
};

/** @param {{app: any, message: any, endpoint?: string, turn: number, picked: boolean, pick: () => void}} props */
function Row({ app, message, endpoint, turn, picked, pick }) {
  const [ref, seen] = useSeen();
  const path = `${app.path}/msg/${message.id}`;
  const attempts = useGet(seen && endpoint ? `${path}/endpoint/${endpoint}/attempt` : null, { limit: 20, with_content: false });
  const ends = useGet(seen && !endpoint ? path + '/endpoint' : null, { limit: 50 });
  useAgain(turn, endpoint ? attempts.reload : ends.reload);
  const tries = attempts.data?.data || [];
  const list = ends.data?.data || [];
  const to = href(`${app.base}/messages/${message.id}`);
  const next = endpoint ? message.nextAttempt : list.map((/** @type {any} */ e) => e.nextAttempt).filter(Boolean).sort()[0];
  const wait = html`<svg class="sk" width="40" />`;
  return html`<tr role="row" ref=${ref} class="go" onClick=${(/** @type {any} */ e) => e.target.closest('a,input') || go(to.slice(1))}>
    ${can('CreateAttempts') && html`<td role="cell" class="hide-s"><input type="checkbox" checked=${picked} onChange=${pick} aria-label=${t('pick', { name: message.id })} /></td>`}
    <td role="cell"><a class="plain col none" href=${to}><span class="cut strong">${message.eventType}</span><span class="cut mono dim">${message.eventId || message.id}</span></a></td>
    <td role="cell">${endpoint ? html`<${Status} state=${message.statusText} />` : ends.loading || !seen ? wait : list.length ? html`<${Summary} list=${list} />` : html`<span class="dim small">${t('nobody')}</span>`}</td>
    ${endpoint && html`<td role="cell" class="num hide-s">${attempts.data ? num(tries.length) + (attempts.data.done ? '' : '+') : wait}</td><td role="cell" class="hide-s">${tries[0] ? html`<${Code} code=${tries[0].responseStatusCode} />` : attempts.data ? '–' : wait}</td><td role="cell" class="num hide-s">${tries[0] ? duration(tries[0].responseDurationMs) : '–'}</td>`}
    <td role="cell" class="hide-s"><${Next} at=${next} /></td><td role="cell" class="dim hide-s"><${Time} at=${message.timestamp} /></td></tr>`;
}

/** @param {{app: any, route: import('./router.js').Route, endpoint?: string}} props */
export function List({ app, route, endpoint }) {
  const { query } = route;
  const one = endpoint || query.endpoint;
  const times = useMemo(() => span(query), [query.span, query.from, query.to]);
  const by = one ? { status: STATUS[/** @type {keyof typeof STATUS} */ (query.status)], status_code_class: query.class } : {};
  const wanted = { with_content: false, event_types: query.type, channel: query.channel, tag: query.tag, ...times, ...by };
  const path = one ? `${app.path}/endpoint/${one}/msg` : app.path + '/msg';
  const starred = query.type?.includes('*');
  const list = usePages(starred ? null : path, wanted);
  const endpoints = useGet(endpoint ? null : app.path + '/endpoint', { limit: 250 });
  // Nothing can be sent to an endpoint that was deleted.
  const isThere = (/** @type {string} */ id) => !endpoints.data?.done || endpoints.data.data.some((/** @type {any} */ e) => e.id === id);
  const [picked, pick] = useState(/** @type {string[]} */ ([]));
  const chosen = new Set(picked);
  useEffect(() => pick([]), [path, JSON.stringify(wanted)]);
  const [busy, resend] = useEach(async (id) => {
    const at = `${app.path}/msg/${id}/endpoint`;
    const to = one ? [{ id: one }] : (await all(at, {}, Infinity)).items.filter((e) => e.status !== 0 && isThere(e.id));
    const done = await Promise.allSettled(to.map((each) => change('POST', `${at}/${each.id}/resend`)));
    const bad = done.find((each) => each.status === 'rejected');
    if (bad) throw /** @type {PromiseRejectedResult} */ (bad).reason;
  }, t('resent'));
  const resendPicked = () => resend(picked).then((failed) => {
    pick(failed || picked);
    list.reload();
  });
  const filtered = Object.keys(query).some((name) => name !== 'view' && query[name]);
  const empty = filtered ? html`<${Empty} icon="search" title=${t(starred ? 'wholeTypes' : 'noMatch')} actions=${html`<${Button} onClick=${() => go(route.path)}>${t('clearFilters')}<//>`} />` : html`<${Empty} icon="send" title=${t('noMessages')}>${t('noMessagesText')}<//>`;
  const select = can('CreateAttempts');
  return html`<${Filters} query=${query} one=${!!endpoint} endpoints=${endpoints.data?.data} />
    ${picked.length > 0 && html`<div class="note"><span class="grow">${t('nPicked', { n: picked.length })}${!one && ' ' + t('resendWhere')}</span><${Button} small icon="send" busy=${busy} onClick=${resendPicked}>${t('resend')}<//></div>`}
    <div class="card"><header><span class="dim small">${list.items.length ? t('nShown', { n: list.items.length }) : ''}</span><div class="row tight"><${Button} kind="ghost" small onClick=${() => { zone.utc = !zone.utc; pick([...picked]); }}>${zone.utc ? 'UTC' : t('localTime')}<//><${Button} kind="ghost" small icon="refresh" label=${t('refresh')} busy=${list.busy} onClick=${list.reload} /></div></header>
      <${Listed} list=${list} empty=${empty}><table role="table" class=${`lines ${one ? 'of-one' : 'of-all'} ${select ? '' : 'unpicked'}`}><thead role="rowgroup"><tr role="row">${select && html`<th role="columnheader" class="hide-s"><input type="checkbox" aria-label=${t('pickAll')} checked=${picked.length > 0 && picked.length === list.items.length} onChange=${(/** @type {any} */ e) => pick(e.target.checked ? list.items.map((m) => m.id) : [])} /></th>`}<th role="columnheader">${t('message')}</th><th role="columnheader">${t('status')}</th>${one && html`<th role="columnheader" class="hide-s">${t('tries')}</th><th role="columnheader" class="hide-s">${t('answer')}</th><th role="columnheader" class="hide-s">${t('duration')}</th>`}<th role="columnheader" class="hide-s">${t('nextAttempt')}</th><th role="columnheader" class="hide-s">${t('time')}</th></tr></thead>
        <${Rows} items=${list.items} row=${(/** @type {any} */ m) => html`<${Kept} key=${m.id + (m.status ?? '')} on=${[m, one, list.turn, chosen.has(m.id), zone.utc]} view=${() => html`<${Row} app=${app} message=${m} endpoint=${one} turn=${list.turn} picked=${chosen.has(m.id)} pick=${() => pick((old) => (old.includes(m.id) ? old.filter((id) => id !== m.id) : [...old, m.id]))} />`} />`} /></table><//></div>`;
}

/** @param {{app: any, route: import('./router.js').Route}} props */
export default function Deliveries({ app, route }) {
  const view = route.query.view || '';
  const [id, set] = useState('');
  return html`<${Head} title=${t('deliveries')} sub=${t('deliveriesSub')}><form class="row nowrap" onSubmit=${(/** @type {Event} */ e) => { e.preventDefault(); if (id.trim()) go(`${app.base}/messages/${encodeURIComponent(id.trim())}`); }}><input class="in mono" data-search aria-label=${t('jumpTo')} placeholder=${t('jumpTo')} value=${id} onInput=${(/** @type {any} */ e) => set(e.target.value)} /><${Button} type="submit" icon="search" label=${t('open')} /></form><//>
    <div class="row"><${Segments} label=${t('sections')} value=${view} set=${(/** @type {string} */ v) => go(app.base + '/deliveries', { view: v })} options=${[['', t('allMessages')], ['needs', t('needsMe')]]} /></div>
    ${view ? html`<${Undelivered} app=${app} route=${route} />` : html`<${List} app=${app} route=${route} />`}`;
}
