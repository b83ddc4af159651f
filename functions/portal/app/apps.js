// @ts-check
/** Applications of the organisation; where there are none, the first steps. */
import { html, useEffect, useState } from './preact.js';
import { call, change, get, reasons } from './api.js';
import { useGet, usePages, useSeen } from './data.js';
import { filter, go, href } from './router.js';
import { Button, Dialog, Empty, Head, Line, Listed, Pill, Search, Segments, Skeleton, Time, useWork } from './ui.js';
import FirstRun from './first.js';
import { t } from './i18n.js';

/** @param {{close: () => void}} props */
function Create({ close }) {
  const [v, set] = useState({ name: '', uid: '' });
  const [why, say] = useState(/** @type {Record<string, string>} */ ({}));
  const [busy, run] = useWork(async () => {
    try {
      go(`/app/${(await change('POST', '/app', { name: v.name, uid: v.uid || undefined })).id}/endpoints`);
    } catch (error) {
      say(reasons(error));
      throw error;
    }
  });
  const input = (/** @type {'name' | 'uid'} */ name) => html`<${Line} label=${t(name)} hint=${name === 'uid' ? t('uidHint') : ''} why=${why[name]} required=${name === 'name'} value=${v[name]} set=${(/** @type {string} */ text) => set({ ...v, [name]: text })} />`;
  return html`<${Dialog} title=${t('newApplication')} close=${close} submit=${() => run()} foot=${html`<${Button} onClick=${close}>${t('cancel')}<//><${Button} kind="primary" type="submit" busy=${busy}>${t('create')}<//>`}>${input('name')}${input('uid')}<//>`;
}

/** @param {{app: any, failing: number, wanted: string}} props */
function AppRow({ app, failing, wanted }) {
  const [ref, seen] = useSeen();
  const endpoints = useGet(seen ? `/app/${app.id}/endpoint` : null, { limit: 50 });
  const list = endpoints.data?.data;
  if (wanted === 'none' && list?.length) return null;
  const to = href(`/app/${app.id}/endpoints`);
  return html`<tr ref=${ref} class="go" onClick=${(/** @type {any} */ e) => e.target.closest('a') || go(to.slice(1))}><td><a class="plain strong cut" href=${to} dir="auto">${app.name}</a><div class="small dim mono cut">${app.uid || app.id}</div></td>
    <td class="num">${list ? (list.length ? t('nEndpoints', { n: list.length }) + (endpoints.data.done ? '' : '+') : html`<span class="dim">${t('noEndpoints')}</span>`) : html`<svg class="sk" width="60" />`}</td>
    <td class="hide-s">${failing ? html`<${Pill} kind="bad" icon="alert">${t('nFailing', { n: failing })}<//>` : ''}</td><td class="dim hide-s"><${Time} at=${app.createdAt} /></td></tr>`;
}

/** @param {{route: import('./router.js').Route}} props */
export default function Apps({ route }) {
  const { q = '', only = '' } = route.query;
  const list = usePages('/app', { order: 'descending' });
  const failing = useGet('/failing-endpoint', { limit: 250 });
  const [found, find] = useState(/** @type {any} */ (null));
  const [creating, create] = useState(false);
  useEffect(() => {
    find(null);
    const stop = new AbortController();
    // An id or uid is looked up; names and metadata are searched among what is loaded.
    const timer = setTimeout(() => /^[\w.-]{2,256}$/.test(q) && call('GET', '/app/' + encodeURIComponent(q), { signal: stop.signal }).then((app) => stop.signal.aborted || find(app), () => {}), 250);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [q]);
  /** @type {Record<string, number>} */
  const counts = {};
  for (const f of failing.data?.data || []) counts[f.appId] = (counts[f.appId] || 0) + 1;
  const fits = (/** @type {any} */ app) => !q || [app.name, app.uid || '', app.id, ...Object.entries(app.metadata || {}).flat()].some((text) => String(text).toLowerCase().includes(q.toLowerCase()));
  // Those that fail may be anywhere in the list: each is asked for, and nothing is said before all are there.
  const bad = only === 'failing';
  const ids = bad ? Object.keys(counts).join() : '';
  const [those, have] = useState(/** @type {{ids?: string, items: any[]}} */ ({ items: [] }));
  useEffect(() => {
    let gone = false;
    if (ids) Promise.all(ids.split(',').map((id) => get('/app/' + id).catch(() => null))).then((items) => gone || have({ ids, items: items.filter(Boolean) }));
    return () => void (gone = true);
  }, [ids]);
  const loaded = (!bad ? list.items : those.ids === ids ? those.items : []).filter(fits);
  const shown = found && !bad && !loaded.some((app) => app.id === found.id) ? [found, ...loaded] : loaded;
  const waits = !failing.data || (ids && those.ids !== ids);
  const asked = bad ? { ...list, items: waits ? [] : shown, loading: waits && !failing.error, error: failing.error, reload: failing.reload, done: true } : { ...list, items: shown };
  if (!list.loading && !list.error && !list.items.length && list.done && !list.busy) return html`<${FirstRun} />`;
  if (list.loading) return html`<${Skeleton} />`;
  return html`<${Head} title=${t('applications')} sub=${t('applicationsSub')}><${Button} kind="primary" icon="plus" onClick=${() => create(true)}>${t('newApplication')}<//><//>
    <div class="row spread"><${Search} label=${t('searchApps')} value=${q} set=${(/** @type {string} */ v) => filter({ q: v }, true)} /><${Segments} label=${t('state')} value=${only} set=${(/** @type {string} */ v) => filter({ only: v })} options=${[['', t('all')], ['failing', t('failing')], ['none', t('withoutEndpoints')]]} /></div>
    <div class="card"><${Listed} list=${asked} empty=${html`<${Empty} icon="search" title=${t('noMatch')}>${list.done || bad ? '' : t('onlyLoaded')}<//>`}><div class="tablebox"><table class="fixed"><colgroup><col /><col width="140" /><col class="hide-s" width="150" /><col class="hide-s" width="130" /></colgroup><thead><tr><th>${t('application')}</th><th>${t('endpoints')}</th><th class="hide-s">${t('state')}</th><th class="hide-s">${t('created')}</th></tr></thead><tbody>${shown.map((app) => html`<${AppRow} key=${app.id} app=${app} failing=${counts[app.id] || 0} wanted=${only} />`)}</tbody></table></div><//></div>
    ${bad && failing.data?.done === false && html`<p class="hint">${t('onlyLoaded')}</p>`}${q && !bad && !list.done && html`<p class="hint">${t('searchedIn', { n: list.items.length })}</p>`}
    ${creating && html`<${Create} close=${() => create(false)} />`}`;
}
