// @ts-check
/** An endpoint's settings and headers. */
import { html, useEffect, useState } from './preact.js';
import { can } from './session.js';
import { call, change } from './api.js';
import { useGet } from './data.js';
import { Button, Failure, Skeleton, toast, useWork } from './ui.js';
import Order from './endpoint-order.js';
import EndpointForm, { body, Pairs, values } from './endpoint-form.js';
import { useAltered } from './endpoint-test.js';
import { t } from './i18n.js';

/** Headers: those whose value nobody sees again stay unless they are removed. @param {{path: string}} props */
function Headers({ path }) {
  const now = useGet(path + '/headers');
  const [pairs, set] = useState(/** @type {[string, string][]} */ ([]));
  // The same answer again takes nothing from who edits it.
  useEffect(() => set(Object.entries(now.data?.headers || {})), [JSON.stringify(now.data?.headers)]);
  const [dropped, drop] = useState(/** @type {string[]} */ ([]));
  const [busy, save] = useWork(async () => {
    const before = now.data.headers;
    const wanted = Object.fromEntries(pairs.filter(([name]) => name.trim()));
    const names = Object.keys(wanted).map((name) => name.toLowerCase());
    const gone = [...Object.keys(before), ...dropped].filter((name) => !names.includes(name.toLowerCase()));
    await change('PATCH', path + '/headers', { headers: Object.fromEntries(Object.entries(wanted).filter(([name, value]) => before[name] !== value)), deleteHeaders: gone });
    // Which of them nobody sees again, the server knows.
    set(Object.entries((await call('GET', path + '/headers')).headers));
    drop([]);
    now.reload();
  }, t('saved'));
  /** @type {string[]} */
  const sensitive = (now.data?.sensitive || []).filter((/** @type {string} */ name) => !dropped.includes(name));
  return html`<div class="card"><header><h2>${t('headers')}</h2></header><div class="pad col"><p class="hint">${t('headersHint')}</p>
    ${now.error ? html`<${Failure} error=${now.error} retry=${now.reload} />` : !now.data ? html`<${Skeleton} rows=${2} />` : can('ManageEndpoint') ? html`<${Pairs} label=${t('headers')} pairs=${pairs} set=${set} fixed=${sensitive} drop=${(/** @type {string} */ name) => drop([...dropped, name])} />
    <div class="row end"><${Button} kind="primary" busy=${busy} onClick=${() => save()}>${t('save')}<//></div>` : html`<dl class="kv small mono">${[...pairs, ...sensitive.map((name) => [name, '••••••••'])].map(([name, value]) => html`<dt>${name}</dt><dd>${value}</dd>`)}</dl>`}</div></div>`;
}

/** @param {{app: any, endpoint: any, path: string, reload: () => void}} props */
export default function Settings({ app, endpoint, path, reload }) {
  const altered = useAltered(path, endpoint);
  // Only requests to a URL have headers of their own.
  const headers = endpoint.destination?.kind === 'http' && html`<${Headers} path=${path} />`;
  const order = endpoint.fifo && html`<${Order} app=${app} path=${path} />`;
  if (!can('ManageEndpoint')) return html`<div class="note warn">${t('needs', { capability: 'ManageEndpoint' })}</div>${order}${headers}`;
  const start = values(endpoint);
  return html`${altered && html`<div class="note">${altered}</div>`}<${EndpointForm} key=${endpoint.id} app=${app} start=${start} yes=${t('save')} save=${async (/** @type {any} */ v) => {
    await change('PATCH', path, body(v, start));
    toast(t('saved'));
    reload();
  }} />${order}${headers}`;
}
