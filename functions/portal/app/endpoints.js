// @ts-check
/** Endpoints of an application: how each does, at a glance. */
import { html, useState } from './preact.js';
import { can, operator } from './session.js';
import { change, stale } from './api.js';
import { useGet, usePages, useSeen } from './data.js';
import { filter, go, href } from './router.js';
import { Button, called, Confirm, Empty, Head, isSentTo, LinkButton, Listed, Pill, Search, Segments, Time, Url, useEach } from './ui.js';
import { Spark, quantile, rate, totals } from './charts.js';
import { duration, since, t } from './i18n.js';

/** Endpoints of a page: what a tall screen shows. */
export const FIRST = 30;

/** @param {any} endpoint @param {any} failing the entry among failing endpoints, if there is one */
export function state(endpoint, failing) {
  // Nobody knows who disabled it: people, 410, or days of failures.
  if (endpoint.disabled) return failing ? 'offFailing' : 'off';
  return failing ? 'failing' : 'active';
}

/** @param {{endpoint: any, failing?: any}} props */
export function EndpointState({ endpoint, failing }) {
  const now = state(endpoint, failing);
  if (now === 'active') return html`<${Pill} kind="ok" icon="check">${t('ep_active')}<//>`;
  if (now === 'failing') return html`<${Pill} kind="bad" icon="alert" title=${failing.lastError || ''}>${t('ep_failing', { since: since(failing.failingSince) })}<//>`;
  return html`<${Pill} kind=${now === 'off' ? '' : 'bad'} icon="pause">${t('ep_' + now)}<//>`;
}

/** @param {string[] | null | undefined} types */
export const typesText = (types) => (!types?.length ? t('allTypes') : types.length === 1 ? types[0] : t('nTypes', { n: types.length }));

/** @param {{app: any, endpoint: any, failing: any, sure: boolean, picked: boolean, pick: () => void}} props */
function EndpointRow({ app, endpoint, failing, sure, picked, pick }) {
  const [ref, seen] = useSeen();
  // Of one that is polled there is nothing to count: nothing is sent.
  const asks = seen && isSentTo(endpoint);
  const path = asks && `${app.path}/endpoint/${endpoint.id}`;
  const series = useGet(path ? path + '/stats/series' : null);
  const attempts = useGet(asks ? `${app.path}/attempt/endpoint/${endpoint.id}` : null, { limit: 20, with_content: false });
  const points = series.data?.points;
  const times = (attempts.data?.data || []).filter((/** @type {any} */ a) => a.status === 0).map((/** @type {any} */ a) => a.responseDurationMs);
  const to = href(`${app.base}/endpoints/${endpoint.id}`);
  const wait = isSentTo(endpoint) ? html`<svg class="sk" width="48" />` : '–';
  return html`<tr ref=${ref} class="go" onClick=${(/** @type {any} */ e) => e.target.closest('a,input,label') || go(to.slice(1))}>
    ${can('ManageEndpoint') && html`<td class="hide-s"><input type="checkbox" checked=${picked} onChange=${pick} aria-label=${t('pick', { name: endpoint.url || called(endpoint) })} /></td>`}
    <td><div class="col tight"><a class="plain cut" href=${to}><${Url} url=${endpoint.url} /></a>
      <div class="row tight small dim">${sure || endpoint.disabled ? html`<${EndpointState} endpoint=${endpoint} failing=${failing} />` : wait}<span class="cut">${endpoint.description || typesText(endpoint.eventTypes)}</span></div></div></td>
    <td>${points ? html`<${Spark} points=${points} />` : series.error ? html`<span class="dim small">${t('noSeries')}</span>` : wait}</td>
    <td class="num hide-s">${points ? rate(totals(points)) : series.error ? '–' : wait}</td>
    <td class="num hide-s">${times.length ? duration(/** @type {number} */ (quantile(times, 0.5))) : attempts.loading ? wait : '–'}</td>
    <td class="hide-s dim">${attempts.loading ? wait : html`<${Time} at=${attempts.data?.data[0]?.timestamp} />`}</td></tr>`;
}

/** @param {{app: any, route: import('./router.js').Route}} props */
export default function Endpoints({ app, route }) {
  const { q = '', state: wanted = '' } = route.query;
  const list = usePages(app.path + '/endpoint', {}, FIRST);
  const failing = useGet(app.path + '/failing-endpoint', { limit: 250 });
  const [picked, pick] = useState(/** @type {string[]} */ ([]));
  const [asking, ask] = useState(false);
  const byId = Object.fromEntries((failing.data?.data || []).map((/** @type {any} */ f) => [f.endpointId, f]));
  const words = q.toLowerCase();
  const shown = list.items.filter((e) => {
    const is = state(e, byId[e.id]);
    return (!wanted || (wanted === 'off' ? is.startsWith('off') : is === wanted)) && (!q || [e.url, e.description, e.id, e.uid || '', ...(e.eventTypes || [])].some((text) => text.toLowerCase().includes(words)));
  });
  // What a filter hides is not changed.
  const chosen = picked.filter((id) => shown.some((e) => e.id === id));
  const unsure = wanted && !failing.data;
  const asked = unsure ? { ...list, items: [], loading: !failing.error, error: failing.error, reload: failing.reload } : { ...list, items: shown };
  const one = (/** @type {string} */ id) => `${app.path}/endpoint/${id}`;
  const [enabling, enable] = useEach((id) => change('PATCH', one(id), { disabled: false }), t('saved'));
  const [disabling, disable] = useEach((id) => change('PATCH', one(id), { disabled: true }), t('saved'));
  const [, remove] = useEach((id) => change('DELETE', one(id)));
  const busy = enabling || disabling;
  const run = (/** @type {typeof remove} */ work) => work(chosen).then((failed) => {
    pick(failed || chosen);
    list.reload();
  });
  const add = can('ManageEndpoint') && html`<${LinkButton} icon="plus" kind="primary" href=${href(app.base + '/endpoints/new')}>${t('addEndpoint')}<//>`;
  const application = useGet(operator() ? app.path : null);
  const empty = q || wanted
    ? html`<${Empty} icon="search" title=${t('noMatch')} actions=${html`<${Button} onClick=${() => filter({ q: '', state: '' })}>${t('clearFilters')}<//>`}>${list.done ? '' : t('onlyLoaded')}<//>`
    : html`<${Empty} icon="endpoint" title=${t('noEndpoints')} actions=${add}>${t('noEndpointsText')}<//>`;
  return html`<${Head} crumbs=${operator() && [[t('applications'), '#/apps'], [application.data?.name || app.id]]} title=${t('endpoints')} sub=${t('endpointsSub')}>${operator() && html`<${AppActions} app=${app} />`}${add}<//>
    <div class="row spread"><${Search} label=${t('searchEndpoints')} value=${q} set=${(/** @type {string} */ v) => filter({ q: v }, true)} />
      <${Segments} label=${t('state')} value=${wanted} set=${(/** @type {string} */ v) => filter({ state: v })} options=${[['', t('all')], ['active', t('ep_active')], ['failing', t('failing')], ['off', t('disabled')]]} /></div>
    ${chosen.length > 0 && html`<div class="note"><span class="grow">${t('nPicked', { n: chosen.length })}</span><div class="row"><${Button} small busy=${busy} onClick=${() => run(enable)}>${t('enable')}<//><${Button} small busy=${busy} onClick=${() => run(disable)}>${t('disable')}<//><${Button} small kind="danger" onClick=${() => ask(true)}>${t('delete')}<//></div></div>`}
    <div class="card"><${Listed} list=${asked} empty=${empty}><div class="tablebox"><table class="fixed"><colgroup>${can('ManageEndpoint') && html`<col class="hide-s" width="44" />`}<col /><col class="spark-col" /><col class="hide-s" width="90" /><col class="hide-s" width="90" /><col class="hide-s" width="130" /></colgroup>
      <thead><tr>${can('ManageEndpoint') && html`<th class="hide-s"><span class="sr">${t('pickAll')}</span></th>`}<th>${t('endpoint')}</th><th>${t('last24h')}</th><th class="hide-s">${t('successRate')}</th><th class="hide-s">${t('p50')}</th><th class="hide-s">${t('lastAttempt')}</th></tr></thead>
      <tbody>${shown.map((e) => html`<${EndpointRow} key=${e.id} app=${app} endpoint=${e} failing=${byId[e.id]} sure=${!!failing.data || !!failing.error} picked=${picked.includes(e.id)} pick=${() => pick((old) => (old.includes(e.id) ? old.filter((id) => id !== e.id) : [...old, e.id]))} />`)}</tbody></table></div><//></div>
    ${asking && html`<${Confirm} danger title=${t('deleteN', { n: chosen.length })} text=${t('deleteEndpointText')} yes=${t('delete')} close=${() => ask(false)} act=${() => run(remove)} />`}`;
}

/** What only the organisation may do with an application. @param {{app: any}} props */
function AppActions({ app }) {
  const [Open, set] = useState(/** @type {any} */ (null));
  return html`<${Button} icon="link" onClick=${() => import('./access.js').then((module) => set(() => module.default))}>${t('portalLink')}<//>
    ${Open && html`<${Open} app=${app} close=${() => { set(null); stale('/auth'); }} />`}`;
}
