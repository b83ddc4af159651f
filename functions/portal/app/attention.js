// @ts-check
/** What needs somebody, of all applications: endpoints that fail, messages that were not delivered. */
import { html } from './preact.js';
import { usePages } from './data.js';
import { go, href } from './router.js';
import { Code, Empty, Head, Listed, Segments, Time, Url } from './ui.js';
import { EndpointState } from './endpoints.js';
import Undelivered from './undelivered.js';
import { t } from './i18n.js';

function Failing() {
  const list = usePages('/failing-endpoint');
  return html`<div class="card"><${Listed} list=${list} empty=${html`<${Empty} icon="check" title=${t('allWell')}>${t('allWellText')}<//>`}><div class="tablebox"><table class="fixed"><colgroup><col /><col width="120" /><col class="hide-s" width="190" /><col class="hide-s" width="130" /></colgroup><thead><tr><th>${t('endpoint')}</th><th>${t('application')}</th><th class="hide-s">${t('lastAnswer')}</th><th class="hide-s">${t('failingSince')}</th></tr></thead>
    <tbody>${list.items.map((f) => html`<tr key=${f.appId + f.endpointId}><td><a class="plain row nowrap" href=${href(`/app/${f.appId}/endpoints/${f.endpointId}`)}><${Url} url=${f.url} /></a><div class="row tight small dim"><${EndpointState} endpoint=${f} failing=${f} /><span class="cut">${f.description}</span></div></td><td><a class="cut" dir="auto" href=${href(`/app/${f.appId}/endpoints`)}>${f.appName || f.appUid || f.appId}</a></td><td class="hide-s"><${Code} code=${f.lastStatus} />${f.lastError && html`<br /><span class="dim small wrapany">${f.lastError}</span>`}</td><td class="hide-s dim"><${Time} at=${f.failingSince} /></td></tr>`)}</tbody></table></div><//></div>`;
}

/** @param {{route: import('./router.js').Route}} props */
export default function Attention({ route }) {
  const view = route.query.view || '';
  return html`<${Head} title=${t('attention')} sub=${t('attentionSub')} />
    <div class="row"><${Segments} label=${t('sections')} value=${view} set=${(/** @type {string} */ v) => go('/attention', { view: v })} options=${[['', t('failingEndpoints')], ['messages', t('undelivered')]]} /></div>
    ${view ? html`<${Undelivered} />` : html`<${Failing} />`}`;
}
