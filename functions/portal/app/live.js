// @ts-check
/** Attempts as they come: each two seconds while the page is seen, slower when nothing happens. */
import { html, useEffect, useRef, useState } from './preact.js';
import { call } from './api.js';
import { useEvery, useGet } from './data.js';
import { filter, href } from './router.js';
import { Button, called, Code, Empty, Failure, Head, isSentTo, Pill, Select, Status, Time, Url } from './ui.js';
import { duration, t } from './i18n.js';

/** Endpoints that are watched at once. */
const WATCHED = 6;
const LIVE_KEPT = 200;

/** @param {{app: any, route: import('./router.js').Route}} props */
export default function Live({ app, route }) {
  const { endpoint = '', only = '' } = route.query;
  const endpoints = useGet(app.path + '/endpoint', { limit: 250 });
  const [rows, set] = useState(/** @type {any[]} */ ([]));
  const [paused, pause] = useState(false);
  const [error, fail] = useState(/** @type {any} */ (null));
  const [idle, rest] = useState(0);
  const seen = useRef(new Set());
  const started = useRef(false);
  const list = (endpoints.data?.data || []).filter(isSentTo);
  const active = list.filter((/** @type {any} */ e) => !e.disabled);
  const watched = endpoint ? [endpoint] : active.slice(0, WATCHED).map((/** @type {any} */ e) => e.id);
  const now = useRef({ watched: '', paused });
  now.current = { watched: watched.join(), paused };
  /** What is new at an endpoint, at first one page; page by page up to what was seen, for as much as is kept. @param {string} id */
  const news = async (id) => {
    const found = [];
    let page;
    do {
      page = await call('GET', `${app.path}/attempt/endpoint/${id}`, { query: { limit: page ? 100 : 20, with_msg: true, with_content: false, iterator: page?.iterator } });
      found.push(...page.data);
    } while (started.current && !page.done && found.length < LIVE_KEPT && !page.data.some((/** @type {any} */ a) => seen.current.has(a.id)));
    return found;
  };
  const poll = async () => {
    if (!watched.length) return;
    const { current } = now;
    // An answer that comes after a pause, or after another endpoint was chosen, is not what is shown.
    const late = () => now.current.paused || now.current.watched !== current.watched;
    try {
      const pages = await Promise.all(watched.map(news));
      if (late()) return;
      const fresh = pages.flat().filter((a) => !seen.current.has(a.id));
      fresh.forEach((a) => seen.current.add(a.id));
      const marked = fresh.map((a) => ({ ...a, fresh: started.current }));
      started.current = true;
      if (marked.length) set((old) => [...marked, ...old].sort((a, b) => b.timestamp.localeCompare(a.timestamp)).slice(0, LIVE_KEPT));
      rest(fresh.length ? 0 : (n) => n + 1);
      fail(null);
    } catch (failed) {
      if (late()) return;
      fail(failed);
      rest((n) => n + 3);
    }
  };
  useEffect(() => {
    set([]);
    seen.current.clear();
    started.current = false;
    if (watched.length) poll();
  }, [watched.join()]);
  // After half a minute without news each five seconds, after two minutes each fifteen.
  useEvery(poll, paused ? null : idle > 30 ? 15 : idle > 15 ? 5 : 2);
  const urls = Object.fromEntries(list.map((/** @type {any} */ e) => [e.id, e.url]));
  const shown = rows.filter((a) => !only || a.status === 2);
  return html`<${Head} title=${t('live')} sub=${t('liveSub')}><${Pill} kind=${paused ? '' : 'ok'} icon=${paused ? 'pause' : 'live'}>${t(paused ? 'paused' : 'listening')}<//><${Button} icon=${paused ? 'play' : 'pause'} onClick=${() => pause(!paused)}>${t(paused ? 'resume' : 'pause')}<//><//>
    <div class="row spread"><${Select} label=${t('endpoint')} value=${endpoint} set=${(/** @type {string} */ v) => filter({ endpoint: v })} options=${[['', t('allEndpoints')], ...list.map((/** @type {any} */ e) => [e.id, called(e)])]} /><label class="check"><input type="checkbox" checked=${!!only} onChange=${(/** @type {any} */ e) => filter({ only: e.target.checked && 'failing' })} />${t('onlyFailing')}</label></div>
    ${!endpoint && active.length > WATCHED && html`<div class="note">${t('watchedOnly', { n: WATCHED })}</div>`}
    ${endpoints.error ? html`<${Failure} error=${endpoints.error} retry=${endpoints.reload} />` : error && html`<${Failure} error=${error} retry=${poll} />`}
    <div class="card" aria-live="off">${shown.length ? html`<ul class="list">${shown.map((a) => html`<li key=${a.id} class=${a.fresh ? 'fresh' : ''}><a class="item stack" href=${href(`${app.base}/messages/${a.msgId}`)}><${Status} state=${a.statusText} /><span class="strong cut">${a.msg?.eventType || a.msgId}</span><span class="grow cut hide-s small"><${Url} url=${a.url || urls[a.endpointId] || ''} /></span><${Code} code=${a.responseStatusCode} /><span class="dim num small">${duration(a.responseDurationMs)}</span><span class="dim small"><${Time} at=${a.timestamp} /></span></a></li>`)}</ul>` : html`<${Empty} icon="live" title=${t('liveEmpty')}>${t('liveEmptyText')}<//>`}</div>`;
}
