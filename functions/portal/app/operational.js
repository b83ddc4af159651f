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
const TOLD = ['endpoint.created', 'endpoint.updated', 'endpoint.deleted', 'endpoint.enabled', 'endpoint.disabled', 'message.attempt.failing', 'message.attempt.exhausted', 'message.attempt.recovered'];

export default function Operational() {
  const here = session.who?.envId === MANAGEMENT;
  const server = session.base || location.origin;
  const steps = `TOKEN=$(postrider token --org ${MANAGEMENT})
curl ${server}/api/v1/app -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' -d '{"name":"Operations","uid":"${session.who?.envId}"}'
curl -X POST ${server}/api/v1/auth/app-portal-access/${session.who?.envId} -H "authorization: Bearer $TOKEN"`;
  return html`<${Head} title=${t('operational')} sub=${t('operationalSub')} />
    <div class="grid2"><div class="card"><header><h2>${t('operationalHow')}</h2></header><div class="pad col">${here ? html`<p class="dim">${t('operationalHere')}</p><div class="row"><${LinkButton} kind="primary" href=${href('/apps')}>${t('applications')}<//></div>` : html`<p class="dim">${t('operationalText')}</p><${Block} text=${steps} wrapped label=${t('operationalHow')} />`}</div></div>
      <div class="card"><header><h2>${t('eventTypes')}</h2></header><ul class="list">${TOLD.map((name) => html`<li><span class="item mono">${name}</span></li>`)}</ul></div></div>`;
}
