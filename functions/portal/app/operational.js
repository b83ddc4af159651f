// @ts-check
/** Operational webhooks: what Postrider itself tells, and who receives it. */
import { html, useState } from './preact.js';
import { session } from './session.js';
import { call, change, reasons } from './api.js';
import { usePages } from './data.js';
import { href } from './router.js';
import { Button, Confirm, Dialog, Empty, Head, Line, LinkButton, Listed, Pill, Url, useWork } from './ui.js';
import { typesText } from './endpoints.js';
import { Block, Copy } from './code.js';
import { t } from './i18n.js';

/** The organisation that they are delivered in, by the contract. */
const MANAGEMENT = 'org_00000000000SvixManagement00';
const TOLD = ['background_task.finished', ...['created', 'deleted', 'disabled', 'enabled', 'failing', 'recovered', 'updated'].map((what) => 'endpoint.' + what), ...['exhausted', 'failing', 'recovered'].map((what) => 'message.attempt.' + what)];
const PATH = '/operational-webhook/endpoint';

/** @param {{close: () => void, done: () => void}} props */
function Add({ close, done }) {
  const [url, set] = useState('');
  const [types, choose] = useState('');
  const [why, say] = useState(/** @type {any} */ ({}));
  const [busy, run] = useWork(async () => {
    const filterTypes = types.split(/[\s,]+/).filter(Boolean);
    try {
      await change('POST', PATH, { url: url.trim(), filterTypes: filterTypes.length ? filterTypes : undefined });
    } catch (error) {
      say(reasons(error));
      throw error;
    }
    done();
    close();
  }, t('saved'));
  return html`<${Dialog} title=${t('addEndpoint')} close=${close} submit=${() => run()} foot=${html`<${Button} onClick=${close}>${t('cancel')}<//><${Button} kind="primary" type="submit" busy=${busy}>${t('addEndpoint')}<//>`}>
    <${Line} label=${t('url')} why=${why.url} cls="mono" dir="ltr" placeholder="https://example.com/webhooks" required autocomplete="url" value=${url} set=${set} />
    <${Line} label=${t('eventTypes')} why=${why.filterTypes} cls="mono" dir="ltr" placeholder="endpoint.*" hint=${t('noneIsAll')} value=${types} set=${choose} /><//>`;
}

/** The endpoints that the organisation has for them. */
function Listeners() {
  const list = usePages(PATH);
  const [asked, ask] = useState(/** @type {any} */ (null));
  const close = () => ask(null);
  return html`<div class="card"><header><h2>${t('endpoints')}</h2><${Button} small icon="plus" onClick=${() => ask('new')}>${t('addEndpoint')}<//></header>
    <${Listed} list=${list} empty=${html`<${Empty} icon="endpoint" title=${t('noEndpoints')} />`}><ul class="list">${list.items.map((e) => html`<li key=${e.id}><div class="item stack"><span class="grow"><${Url} url=${e.url} /><span class="cut dim small">${e.description || typesText(e.filterTypes)}</span></span><${Pill} kind=${e.disabled ? '' : 'ok'} icon=${e.disabled ? 'pause' : 'check'}>${t(e.disabled ? 'disabled' : 'ep_active')}<//>
      <span class="row tight"><${Copy} text=${async () => (await call('GET', `${PATH}/${e.id}/secret`)).key}>${t('secret')}<//><${Button} small kind="danger" icon="trash" label=${t('delete')} onClick=${() => ask(e)} /></span></div></li>`)}</ul><//></div>
    ${asked === 'new' ? html`<${Add} close=${close} done=${list.reload} />` : asked && html`<${Confirm} danger title=${t('deleteEndpoint')} text=${asked.url} yes=${t('delete')} close=${close} act=${async () => {
      await change('DELETE', `${PATH}/${asked.id}`);
      list.reload();
    }} />`}`;
}

export default function Operational() {
  const here = session.who?.envId === MANAGEMENT;
  const server = session.base || location.origin;
  const steps = `# ${t('operationalApi')}
curl ${server}/api/v1${PATH} -H "authorization: Bearer $TOKEN" -H 'content-type: application/json' -d '{"url":"https://example.com/webhooks"}'

# ${t('operationalManagement')}
TOKEN=$(postrider token --org ${MANAGEMENT})
curl -X POST ${server}/api/v1/auth/app-portal-access/${session.who?.envId} -H "authorization: Bearer $TOKEN"`;
  return html`<${Head} title=${t('operational')} sub=${t('operationalSub')} />
    ${!here && html`<${Listeners} />`}
    <div class="grid2"><div class="card"><header><h2>${t('operationalHow')}</h2></header><div class="pad col">${here ? html`<p class="dim">${t('operationalHere')}</p><div class="row"><${LinkButton} kind="primary" href=${href('/apps')}>${t('applications')}<//></div>` : html`<p class="dim">${t('operationalText')}</p><${Block} text=${steps} wrapped label=${t('operationalHow')} />`}</div></div>
      <div class="card"><header><h2>${t('eventTypes')}</h2></header><ul class="list">${TOLD.map((name) => html`<li><span class="item mono">${name}</span></li>`)}</ul></div></div>`;
}
