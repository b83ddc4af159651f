// @ts-check
/** Recovery of an application: which endpoints need it, and what was started. */
import { html } from './preact.js';
import { useGet, usePages } from './data.js';
import { href } from './router.js';
import { Empty, Failure, Head, isSentTo, LinkButton, Listed, Skeleton, Url } from './ui.js';
import { EndpointState } from './endpoints.js';
import { TaskHistory } from './tasks.js';
import { t } from './i18n.js';

/** @param {{app: any}} props */
export default function Recovery({ app }) {
  const failing = useGet(app.path + '/failing-endpoint', { limit: 250 });
  const endpoints = usePages(app.path + '/endpoint', {}, 50);
  const list = failing.data?.data || [];
  const at = (/** @type {string} */ id) => href(`${app.base}/endpoints/${id}/recovery`);
  return html`<${Head} title=${t('recovery')} sub=${t('recoverySub')} />
    <div class="card"><header><h2>${t('failing')}</h2></header>${failing.error ? html`<div class="pad"><${Failure} error=${failing.error} retry=${failing.reload} /></div>` : !failing.data ? html`<${Skeleton} rows=${2} />` : list.length ? html`<ul class="list">${list.map((/** @type {any} */ f) => html`<li key=${f.endpointId}><div class="item stack"><div class="grow"><a class="plain row nowrap" href=${href(`${app.base}/endpoints/${f.endpointId}`)}><${Url} url=${f.url} /></a><div class="row tight small dim"><${EndpointState} endpoint=${f} failing=${f} /><span class="cut">${f.description}</span></div></div><${LinkButton} small icon="repair" href=${at(f.endpointId)}>${t('do_recover')}<//></div></li>`)}</ul>` : html`<${Empty} icon="check" title=${t('allWell')} />`}</div>
    <div class="card"><header><h2>${t('chooseEndpoint')}</h2></header><${Listed} list=${endpoints} empty=${html`<${Empty} icon="endpoint" title=${t('noEndpoints')} />`}><ul class="list">${endpoints.items.filter(isSentTo).map((e) => html`<li key=${e.id}><a class="item" href=${at(e.id)}><span class="grow cut"><${Url} url=${e.url} /></span><span class="dim small cut half">${e.description}</span></a></li>`)}</ul><//></div>
    <${TaskHistory} app=${app} />`;
}
