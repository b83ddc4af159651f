// @ts-check
/** Operational webhooks: what Postrider itself tells, and how to receive it. */
import { html } from './preact.js';
import { session } from './session.js';
import { href } from './router.js';
import { Head, LinkButton } from './ui.js';
import { Block } from './code.js';
import { t } from './i18n.js';

/** The organisation that they are delivered in, by the contract. */
const MANAGEMENT = 'org_00000000000SvixManagement00';
const TOLD = ['background_task.finished', 'endpoint.created', 'endpoint.updated', 'endpoint.deleted', 'endpoint.enabled', 'endpoint.disabled', 'endpoint.failing', 'endpoint.recovered', 'message.attempt.failing', 'message.attempt.exhausted', 'message.attempt.recovered'];

export default function Operational() {
  const here = session.who?.envId === MANAGEMENT;
  const server = session.base || location.origin;
  const steps = `TOKEN=$(postrider token --org ${session.who?.envId})
curl ${server}/api/v1/operational-webhook/endpoint -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' -d '{"url":"https://example.com/operations"}'`;
  return html`<${Head} title=${t('operational')} sub=${t('operationalSub')} />
    <div class="grid2"><div class="card"><header><h2>${t('operationalHow')}</h2></header><div class="pad col">${here ? html`<p class="dim">${t('operationalHere')}</p><div class="row"><${LinkButton} kind="primary" href=${href('/apps')}>${t('applications')}<//></div>` : html`<p class="dim">${t('operationalText')}</p><${Block} text=${steps} wrapped label=${t('operationalHow')} />`}</div></div>
      <div class="card"><header><h2>${t('eventTypes')}</h2></header><ul class="list">${TOLD.map((name) => html`<li><span class="item mono">${name}</span></li>`)}</ul></div></div>`;
}
