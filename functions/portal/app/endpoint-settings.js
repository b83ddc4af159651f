// @ts-check
/** An endpoint's settings and headers. */
import { html, useEffect, useState } from './preact.js';
import { can } from './session.js';
import { change } from './api.js';
import { useGet } from './data.js';
import { Button, Failure, Skeleton, toast, useWork } from './ui.js';
import Order from './endpoint-order.js';
import EndpointForm, { body, Pairs, values } from './endpoint-form.js';
import { t } from './i18n.js';

/** Headers: those whose value nobody sees again stay unless they are removed. @param {{path: string}} props */
function Headers({ path }) {
  const now = useGet(path + '/headers');
  const [pairs, set] = useState(/** @type {[string, string][]} */ ([]));
  // The same answer again takes nothing from who edits it.
  useEffect(() => set(Object.entries(now.data?.headers || {})), [JSON.stringify(now.data?.headers)]);
  const [busy, save] = useWork(async () => {
    const wanted = Object.fromEntries(pairs.filter(([name]) => name.trim()));
    const gone = Object.keys(now.data.headers).filter((name) => !(name in wanted));
    await change('PATCH', path + '/headers', { headers: wanted, deleteHeaders: gone });
    now.reload();
  }, t('saved'));
  const sensitive = now.data?.sensitive || [];
  return html`<div class="card"><header><h2>${t('headers')}</h2></header><div class="pad col"><p class="hint">${t('headersHint')}</p>
    ${now.error ? html`<${Failure} error=${now.error} retry=${now.reload} />` : !now.data ? html`<${Skeleton} rows=${2} />` : can('ManageEndpoint') ? html`<${Pairs} label=${t('headers')} pairs=${pairs} set=${set} fixed=${sensitive} />
    <div class="row end"><${Button} kind="primary" busy=${busy} onClick=${() => save()}>${t('save')}<//></div>` : html`<dl class="kv small mono">${[...pairs, ...sensitive.map((/** @type {string} */ name) => [name, '••••••••'])].map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`}</div></div>`;
}

/** @param {{app: any, endpoint: any, path: string, reload: () => void}} props */
export default function Settings({ app, endpoint, path, reload }) {
  // Only requests to a URL have headers of their own.
  const headers = endpoint.destination?.kind === 'http' && html`<${Headers} path=${path} />`;
  const order = endpoint.fifo && html`<${Order} app=${app} path=${path} />`;
  if (!can('ManageEndpoint')) return html`<div class="note warn">${t('needs', { capability: 'ManageEndpoint' })}</div>${order}${headers}`;
  const start = values(endpoint);
  return html`<${EndpointForm} key=${endpoint.updatedAt} app=${app} start=${start} yes=${t('save')} save=${async (/** @type {any} */ v) => {
    await change('PATCH', path, body(v, start));
    toast(t('saved'));
    reload();
  }} />${order}${headers}`;
}
