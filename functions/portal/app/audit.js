// @ts-check
/** Who changed what. */
import { html, useState } from './preact.js';
import { usePages } from './data.js';
import { filter, href } from './router.js';
import { Icon } from './icons.js';
import { Empty, Head, Listed, Text, Time } from './ui.js';
import { Block } from './code.js';
import { date, t } from './i18n.js';

/** @param {{event: any}} props */
function AuditEvent({ event }) {
  const [open, set] = useState(false);
  const state = (/** @type {string} */ title, /** @type {any} */ value) => value && html`<div class="col tight"><div class="lab">${title}</div><${Block} text=${JSON.stringify(value, null, 2)} json label=${title} /></div>`;
  return html`<details class="fold" onToggle=${(/** @type {any} */ e) => set(e.target.open)}><summary class="item stack"><span class="dim"><${Icon} name=${open ? 'down' : 'chevron'} /></span><span class="strong">${event.what}</span><span class="mono grow cut">${event.subject}</span><span class="dim small cut">${event.by}</span><span class="dim small"><${Time} at=${event.timestamp} /></span></summary>
    ${open && html`<div class="pad col"><dl class="kv"><dt>${t('time')}</dt><dd>${date(event.timestamp)}</dd><dt>${t('by')}</dt><dd class="mono">${event.by}</dd>${event.appId && html`<dt>${t('application')}</dt><dd><a class="mono" href=${href('/app/' + event.appId)}>${event.appId}</a></dd>`}${event.requestId && html`<dt>${t('request')}</dt><dd class="mono">${event.requestId}</dd>`}</dl>
      <div class="grid2">${state(t('before'), event.before)}${state(t('after'), event.after)}</div>${event.trimmed && html`<p class="hint">${t('trimmed')}</p>`}</div>`}</details>`;
}

/** @param {{route: import('./router.js').Route}} props */
export default function Audit({ route }) {
  const { query } = route;
  const names = /** @type {const} */ (['subject', 'what', 'by', 'app_id']);
  const list = usePages('/audit-event', Object.fromEntries(names.map((name) => [name, query[name]])));
  return html`<${Head} title=${t('audit')} sub=${t('auditSub')} />
    <div class="row">${names.map((name) => html`<${Text} key=${name} cls="grow" label=${t('f_' + name)} value=${query[name] || ''} set=${(/** @type {string} */ v) => filter({ [name]: v })} />`)}</div>
    <div class="card"><${Listed} list=${list} empty=${html`<${Empty} icon="audit" title=${t('noAudit')} />`}><ul class="list">${list.items.map((event) => html`<li key=${event.id}><${AuditEvent} event=${event} /></li>`)}</ul><//></div>`;
}
