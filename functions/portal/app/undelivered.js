// @ts-check
/** Messages whose attempts are exhausted and which were never delivered since. */
import { html, useState } from './preact.js';
import { can } from './session.js';
import { change } from './api.js';
import { useGet, usePages } from './data.js';
import { href } from './router.js';
import { Button, Code, Empty, Listed, Time, Url, useEach } from './ui.js';
import { num, t } from './i18n.js';

/** Of one application, or of all of the organisation. @param {{app?: any, endpoint?: string, route?: any}} props */
export default function Undelivered({ app, endpoint }) {
  const list = usePages(app ? app.path + '/undelivered' : '/undelivered', { endpointId: endpoint });
  const [picked, pick] = useState(/** @type {any[]} */ ([]));
  const at = (/** @type {any} */ u) => u.appId + u.msgId + u.endpointId;
  const has = (/** @type {any} */ u) => picked.some((each) => at(each) === at(u));
  const [busy, resend] = useEach((u) => change('POST', `/app/${u.appId}/msg/${u.msgId}/endpoint/${u.endpointId}/resend`), t('resent'));
  const chosen = list.items.filter(has);
  const resendPicked = () => resend(chosen).then((failed) => {
    pick(failed || chosen);
    list.reload();
  });
  // Across applications, names and addresses come with the endpoints that fail, which are few.
  const known = useGet(app ? app.path + '/endpoint' : '/failing-endpoint', { limit: 250 });
  const found = (/** @type {string} */ id) => known.data?.data.find((/** @type {any} */ e) => (e.endpointId || e.id) === id);
  const url = (/** @type {string} */ id) => found(id)?.url;
  const name = (/** @type {any} */ u) => found(u.endpointId)?.appName || u.appId;
  const select = can('CreateAttempts');
  return html`${chosen.length > 0 && html`<div class="note"><span class="grow">${t('nPicked', { n: chosen.length })}</span><${Button} small icon="send" busy=${busy} onClick=${resendPicked}>${t('resend')}<//></div>`}
    <div class="card"><${Listed} list=${list} empty=${html`<${Empty} icon="check" title=${t('allDelivered')}>${t('allDeliveredText')}<//>`}><div class="tablebox"><table class="fixed"><colgroup>${select && html`<col width="44" />`}<col />${!app && html`<col class="hide-s" width="170" />`}<col class="hide-s" width="230" /><col class="hide-s" width="70" /><col width="130" /><col class="hide-s" width="130" /></colgroup><thead><tr>
      ${select && html`<th><input type="checkbox" aria-label=${t('pickAll')} checked=${chosen.length > 0 && chosen.length === list.items.length} onChange=${(/** @type {any} */ e) => pick(e.target.checked ? list.items : [])} /></th>`}<th>${t('message')}</th>${!app && html`<th class="hide-s">${t('application')}</th>`}<th class="hide-s">${t('endpoint')}</th><th class="hide-s">${t('tries')}</th><th>${t('lastAnswer')}</th><th class="hide-s">${t('exhausted')}</th></tr></thead>
      <tbody>${list.items.map((u) => {
        const base = app ? app.base : `/app/${u.appId}`;
        return html`<tr key=${at(u)}>${select && html`<td><input type="checkbox" checked=${has(u)} aria-label=${t('pick', { name: u.msgId })} onChange=${() => pick(has(u) ? picked.filter((each) => at(each) !== at(u)) : [...picked, u])} /></td>`}
          <td><a class="plain" href=${href(`${base}/messages/${u.msgId}`)}><span class="strong cut">${u.eventType}</span><span class="mono dim cut">${u.msgId}</span></a>${!app && html`<a class="plain dim small cut only-s" href=${href(`${base}/endpoints`)} dir="auto">${name(u)}</a>`}</td>${!app && html`<td class="hide-s"><a class="plain cut" href=${href(`${base}/endpoints`)} dir="auto">${name(u)}</a></td>`}
          <td class="hide-s"><a class="plain cut" href=${href(`${base}/endpoints/${u.endpointId}`)}>${url(u.endpointId) ? html`<${Url} url=${url(u.endpointId)} />` : html`<span class="mono">${u.endpointId}</span>`}</a></td><td class="num hide-s">${num(u.attempts)}</td><td><${Code} code=${u.responseStatusCode} />${u.error && html`<br /><span class="dim small wrapany">${u.error}</span>`}</td><td class="hide-s dim"><${Time} at=${u.exhaustedAt} /></td></tr>`;
      })}</tbody></table></div><//></div>`;
}
