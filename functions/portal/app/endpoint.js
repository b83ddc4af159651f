// @ts-check
/** One endpoint: how it does, and its other sides in tabs. */
import { html, useState } from './preact.js';
import { can } from './session.js';
import { change } from './api.js';
import { useGet } from './data.js';
import { go, href } from './router.js';
import { Button, Code, Confirm, Failure, Head, isSentTo, LinkButton, Segments, Skeleton, Tabs, Time, Url, useWork } from './ui.js';
import { Stacked, quantile, rate, totals } from './charts.js';
import { Block, Copy, json } from './code.js';
import { fieldsOf, isAws, kindName } from './endpoint-aws.js';
import { keysUrl } from './endpoint-form.js';
import { EndpointState, typesText } from './endpoints.js';
import { List } from './deliveries.js';
import Test, { useAltered } from './endpoint-test.js';
import Settings from './endpoint-settings.js';
import Secret from './endpoint-secret.js';
import Recover from './recover.js';
import Poll from './endpoint-poll.js';
import { date, duration, lasting, num, percent, t } from './i18n.js';

/** @type {Record<string, any>} */
const TABS = { test: Test, settings: Settings, secret: Secret, recovery: Recover };
/** @type {Record<string, [hours: number, bucket: string]>} */
const PERIODS = { '1h': [1, 'hour'], '24h': [24, 'hour'], '7d': [168, 'hour'], '28d': [672, 'day'] };

/** What attempts have in common, the commonest first: the newest of each, and how many. @param {any[]} list @param {(a: any) => any} key @returns {{first: any, n: number}[]} */
function commonest(list, key) {
  /** @type {Map<any, {first: any, n: number}>} */
  const found = new Map();
  for (const each of list) {
    const at = key(each);
    if (!found.has(at)) found.set(at, { first: each, n: 0 });
    /** @type {any} */ (found.get(at)).n += 1;
  }
  return [...found.values()].sort((a, b) => b.n - a.n);
}

/** When failed deliveries are tried again, in words. @param {any} policy */
function retryText(policy) {
  if (!policy) return t('retries_usual');
  const { schedule, attempts, minSeconds, maxSeconds, jitter } = policy;
  const waits = schedule ? schedule.map(lasting).join(', ') : t('doubling', { n: attempts, min: lasting(minSeconds), max: lasting(maxSeconds) });
  return waits ? `${waits} (± ${percent(jitter / 100)})` : t('noRetry');
}

/** What an endpoint is set to. @param {{endpoint: any, path: string}} props */
function About({ endpoint: e, path }) {
  const altered = useAltered(path, e);
  const place = e.destination || { kind: 'http' };
  const rows = place.kind === 'http' ? [['url', e.url]] : [['kind', kindName(place.kind)], ...(isAws(place.kind) ? [...fieldsOf(place.kind), 'externalId'].map((name) => [name, place[name]]) : [])];
  return html`<div class="card pad"><dl class="kv">${rows.map(([name, value]) => value && html`<dt>${t(name)}</dt><dd class="mono wrapany">${value}</dd>`)}<dt>${t('eventTypes')}</dt><dd>${e.eventTypes?.length ? html`<span class="row tight">${e.eventTypes.map((/** @type {string} */ name) => html`<span class="tag">${name}</span>`)}</span>` : t('allTypes')}</dd>
    ${e.filter ? html`<dt>${t('filter')}</dt><dd><${Block} json text=${json(e.filter, 2)} label=${t('filter')} /></dd>` : ''}${isSentTo(e) && html`<dt>${t('retries')}</dt><dd>${retryText(e.retryPolicy)}</dd>`}${altered && html`<dt>${t('payload')}</dt><dd>${altered}</dd>`}
    ${e.headerStyle && html`<dt>${t('headerStyle')}</dt><dd class="wrapany">${t('headerStyleHint', { url: keysUrl() })}</dd>`}
    ${e.fifo && html`<dt>${t('order')}</dt><dd>${e.fifoKey ? html`<span class="mono">${e.fifoKey}</span>` : t('fifo')}</dd>`}${e.batchSize ? html`<dt>${t('batchSize')}</dt><dd>${num(e.batchSize)}${e.maxWaitSecs ? ` (≤ ${lasting(e.maxWaitSecs)})` : ''}</dd>` : ''}
    ${e.channels?.length ? html`<dt>${t('channels')}</dt><dd>${e.channels.join(', ')}</dd>` : ''}${e.rateLimit ? html`<dt>${t('rateLimit')}</dt><dd>${t('perSecond', { n: e.rateLimit })}</dd>` : ''}
    <dt>ID</dt><dd class="row tight"><span class="mono">${e.id}</span><${Copy} text=${e.id} /></dd><dt>${t('created')}</dt><dd><${Time} at=${e.createdAt} /></dd></dl></div>`;
}

/** @param {{app: any, endpoint: any, path: string, route: import('./router.js').Route}} props */
function Overview({ app, endpoint, path, route }) {
  const span = PERIODS[route.query.span] ? route.query.span : '24h';
  const [hours, bucket] = PERIODS[span];
  // Half an hour less where the window is the longest allowed: clocks differ.
  const since = new Date(Math.ceil(Date.now() / 60000) * 60000 - (hours > 24 ? hours - 0.5 : hours) * 3.6e6).toISOString();
  const series = useGet(`${app.path}/endpoint/${endpoint.id}/stats/series`, { since, bucket });
  const attempts = useGet(`${app.path}/attempt/endpoint/${endpoint.id}`, { limit: 100, with_content: false, after: since });
  const points = series.data?.points || [];
  const sum = totals(points);
  const list = attempts.data?.data || [];
  const times = list.map((/** @type {any} */ a) => a.responseDurationMs);
  const fails = list.filter((/** @type {any} */ a) => a.status === 2);
  const classes = commonest(list, (a) => a.responseStatusCode);
  const errors = commonest(fails, (a) => a.responseStatusCode + a.response);
  const time = (/** @type {number} */ share) => (times.length ? duration(/** @type {number} */ (quantile(times, share))) : '–');
  return html`<dl class="tiles">${[[t('delivered'), num(sum.success)], [t('st_fail'), num(sum.fail)], [t('successRate'), rate(sum)], [t('p50'), time(0.5)], [t('p95'), time(0.95)]].map(([name, value]) => html`<div class="card tile"><dt>${name}</dt><dd>${series.loading ? '…' : value}</dd></div>`)}</dl>
    <div class="card"><header><h2>${t('deliveries')}</h2><${Segments} label=${t('time')} value=${span} set=${(/** @type {string} */ v) => go(route.path, { span: v })} options=${Object.keys(PERIODS).map((s) => [s, t('span_' + s)])} /></header>
      <div class="pad col">${series.error ? html`<${Failure} error=${series.error} retry=${series.reload} />` : series.loading ? html`<${Skeleton} rows=${3} />` : html`<${Stacked} points=${points} hourly=${bucket === 'hour'} />`}</div></div>
    <div class="grid2"><div class="card"><header><h2>${t('answers')}</h2><span class="dim small">${t('ofLast', { n: list.length })}</span></header><div class="pad">${attempts.error ? html`<${Failure} error=${attempts.error} retry=${attempts.reload} />` : classes.length ? html`<dl class="kv">${classes.slice(0, 8).map(({ first, n }) => html`<dt><${Code} code=${first.responseStatusCode} /></dt><dd class="num">${num(n)}</dd>`)}</dl>` : html`<p class="dim">${t('noAttempts')}</p>`}</div></div>
      <div class="card"><header><h2>${t('commonErrors')}</h2></header>${errors.length ? html`<ul class="list">${errors.slice(0, 4).map(({ first, n }) => html`<li><a class="item" href=${href(`${app.base}/messages/${first.msgId}`)}><${Code} code=${first.responseStatusCode} /><span class="cut grow dim">${first.response}</span><span class="num small">×${num(n)}</span><span class="dim small"><${Time} at=${first.timestamp} /></span></a></li>`)}</ul>` : html`<p class="pad dim">${t('noErrors')}</p>`}</div></div>
    <${About} endpoint=${endpoint} path=${path} />`;
}

/** @param {{app: any, route: import('./router.js').Route, id: string, tab?: string}} props */
export default function Endpoint({ app, route, id, tab: wanted = '' }) {
  const path = `${app.path}/endpoint/${encodeURIComponent(id)}`;
  const endpoint = useGet(path);
  const failing = useGet(app.path + '/failing-endpoint', { limit: 250 });
  const [asking, ask] = useState(false);
  const [busy, turn] = useWork(async (/** @type {boolean} */ disabled) => {
    await change('PATCH', path, { disabled });
    endpoint.reload();
    failing.reload();
  }, t('saved'));
  const back = href(app.base + '/endpoints');
  if (endpoint.error && !endpoint.data) return html`<${Head} crumbs=${[[t('endpoints'), back], [id]]} title=${t('endpoint')} /><${Failure} error=${endpoint.error} retry=${endpoint.reload} />`;
  if (!endpoint.data) return html`<${Skeleton} />`;
  const e = endpoint.data;
  const fail = (failing.data?.data || []).find((/** @type {any} */ f) => f.endpointId === e.id);
  const at = `${app.base}/endpoints/${encodeURIComponent(id)}`;
  const names = isSentTo(e) ? ['overview', 'deliveries', 'test', 'settings', 'secret', 'recovery'] : ['overview', 'settings'];
  const tab = names.includes(wanted) ? wanted : 'overview';
  const View = TABS[tab];
  const tabs = names.map((name) => [name, t('tab_' + name), href(name === 'overview' ? at : `${at}/${name}`)]);
  const props = { app, endpoint: e, path, route, reload: endpoint.reload };
  return html`<${Head} crumbs=${[[t('endpoints'), back], [e.description || e.id]]} title=${html`<${Url} url=${e.url} />`} sub=${html`<span class="row"><${EndpointState} endpoint=${e} failing=${fail} /><span>${e.description || typesText(e.eventTypes)}</span></span>`}>
      ${can('ManageEndpoint') && html`<${Button} icon=${e.disabled ? 'play' : 'pause'} busy=${busy} onClick=${() => turn(!e.disabled)}>${t(e.disabled ? 'enable' : 'disable')}<//><${Button} kind="danger" icon="trash" label=${t('delete')} onClick=${() => ask(true)} />`}<//>
    ${fail && html`<div class="note bad"><span class="grow">${t(e.disabled ? 'failOff' : 'failOn')}${fail.lastStatus ? ` HTTP ${fail.lastStatus}.` : ''} ${fail.lastError || ''}</span><${LinkButton} small href=${href(at + '/recovery')}>${t('tab_recovery')}<//></div>`}
    ${e.nextProbe && html`<div class="note">${t('probeAt', { at: date(e.nextProbe) })}</div>`}${e.missedSince && html`<div class="note warn"><span class="grow">${t('missedSince', { at: date(e.missedSince) })}</span><${LinkButton} small href=${href(at + '/recovery')}>${t('tab_recovery')}<//></div>`}
    <${Tabs} items=${tabs} now=${tab} />
    ${View ? html`<${View} ...${props} />` : tab === 'deliveries' ? html`<${List} app=${app} route=${route} endpoint=${e.id} />` : isSentTo(e) ? html`<${Overview} ...${props} />` : html`<${Poll} ...${props} /><${About} ...${props} />`}
    ${asking && html`<${Confirm} danger title=${t('deleteEndpoint')} text=${t('deleteEndpointText')} yes=${t('delete')} close=${() => ask(false)} act=${async () => {
      await change('DELETE', path);
      go(app.base + '/endpoints');
    }} />`}`;
}
