// @ts-check
/** The event types that one can subscribe to. */
import { html } from './preact.js';
import { can } from './session.js';
import { useGet } from './data.js';
import { filter, href } from './router.js';
import { Empty, Failure, Head, LinkButton, Search, Skeleton } from './ui.js';
import { Block, json } from './code.js';
import Schema from './schema.js';
import { groups, useTypes } from './typepicker.js';
import { example } from './endpoint-test.js';
import { t } from './i18n.js';

/** What a receiver gets, described. @param {{type: any}} props */
export function TypeView({ type }) {
  const schema = Object.values(type.schemas || {}).reverse()[0];
  const shown = example(type);
  return html`${schema ? html`<div class="card"><header><h2>${t('schema')}</h2></header><${Schema} schema=${schema} /></div>` : html`<p class="dim">${t('noSchema')}</p>`}
    ${shown && html`<div class="card"><header><h2>${t('example')}</h2></header><div class="pad"><${Block} text=${json(shown, 2)} json label=${t('example')} /></div></div>`}`;
}

/** @param {{app: any, id: string}} props */
function Detail({ app, id }) {
  const type = useGet('/event-type/' + encodeURIComponent(id));
  if (type.error) return html`<${Failure} error=${type.error} retry=${type.reload} />`;
  if (!type.data) return html`<${Skeleton} />`;
  return html`<div class="col"><div class="row spread"><div class="grow"><h2 class="mono wrapany">${type.data.name} ${type.data.deprecated && html`<span class="tag">${t('deprecated')}</span>`}</h2><p class="dim">${type.data.description}</p></div>
    ${can('ManageEndpoint') && html`<${LinkButton} kind="primary" icon="plus" href=${href(app.base + '/endpoints/new', { type: id })}>${t('subscribe')}<//>`}</div><${TypeView} type=${type.data} /></div>`;
}

/** @param {{app: any, id?: string, route: import('./router.js').Route}} props */
export default function Catalogue({ app, id, route }) {
  const { items, error, more, load } = useTypes();
  const { q = '' } = route.query;
  const shown = (items || []).filter((type) => !q || `${type.name} ${type.description} ${type.groupName || ''}`.toLowerCase().includes(q.toLowerCase()));
  const at = id || shown[0]?.name;
  const body = error ? html`<${Failure} error=${error} retry=${load} />` : !items ? html`<div class="card"><${Skeleton} /></div>` : !items.length ? html`<div class="card"><${Empty} icon="book" title=${t('noTypes')}>${t('noTypesText')}<//></div>`
    : html`<div class="split left"><div class="col"><${Search} label=${t('searchTypes')} value=${q} set=${(/** @type {string} */ v) => filter({ q: v }, true)} />
      ${groups(shown).map(([name, types]) => html`<nav class="nav" aria-label=${name || t('otherTypes')} key=${name}><h2>${name || t('otherTypes')}</h2>${types.map((type) => html`<a key=${type.name} href=${href(`${app.base}/event-types/${encodeURIComponent(type.name)}`, { q })} aria-current=${type.name === at ? 'page' : undefined}><span class="mono cut">${type.name}</span>${type.deprecated && html`<span class="tag">${t('deprecated')}</span>`}</a>`)}</nav>`)}
      ${!shown.length && html`<p class="dim">${t('noMatch')}</p>`}${more && html`<p class="hint">${t('onlyLoaded')}</p>`}</div>${at && html`<${Detail} key=${at} app=${app} id=${at} />`}</div>`;
  return html`<${Head} title=${t('catalogue')} sub=${t('catalogueSub')} />${body}`;
}
