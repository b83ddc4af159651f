// @ts-check
/** Event types, as the organisation keeps them. */
import { html, useState } from './preact.js';
import { call, change, reasons } from './api.js';
import { useGet, usePages } from './data.js';
import { filter, go, href } from './router.js';
import { Button, Confirm, Dialog, Empty, Failure, Head, Line, Listed, Search, Skeleton, Time, toast, useWork } from './ui.js';
import { TypeView } from './catalogue.js';
import { json, jsonProblem } from './code.js';
import { t } from './i18n.js';

/** @param {{type?: any, close: () => void, saved: () => void}} props */
function Editor({ type, close, saved }) {
  const [start] = useState({ name: type?.name || '', description: type?.description || '', groupName: type?.groupName || '', deprecated: !!type?.deprecated, flags: (type?.featureFlags || []).join(', '), schemas: type?.schemas ? json(type.schemas, 2) : '' });
  const [v, setAll] = useState(start);
  const [why, say] = useState(/** @type {Record<string, string>} */ ({}));
  const set = (/** @type {Partial<typeof v>} */ part) => setAll({ ...v, ...part });
  const [busy, run] = useWork(async () => {
    let schemas = v.schemas.trim();
    const bad = schemas && jsonProblem(schemas);
    say(bad ? { schemas: bad } : {});
    if (bad) return;
    try {
      if (schemas) {
        const { type: one, properties, $ref } = JSON.parse(schemas);
        // A schema alone is version 1.
        if (one || properties || $ref) schemas = `{"1":${schemas}}`;
      }
      const flags = v.flags.split(/[\s,]+/).filter(Boolean);
      /** @type {[keyof typeof v, string, any][]} */
      const fields = [['name', 'name', v.name], ['description', 'description', v.description], ['groupName', 'groupName', v.groupName || null], ['deprecated', 'deprecated', v.deprecated], ['flags', 'featureFlags', flags.length ? flags : null]];
      // What was not edited is not sent. A schema goes as it is written, with all of its digits.
      const parts = fields.filter(([name]) => !type || v[name] !== start[name]).map(([, name, value]) => `"${name}":${JSON.stringify(value)}`);
      if (v.schemas !== start.schemas) parts.push(`"schemas":${schemas || 'null'}`);
      await change(type ? 'PATCH' : 'POST', '/event-type' + (type ? '/' + encodeURIComponent(type.name) : ''), `{${parts}}`);
      saved();
      close();
    } catch (error) {
      say(reasons(error));
      throw error;
    }
  });
  const input = (/** @type {'name' | 'description' | 'groupName' | 'flags'} */ name, /** @type {any} */ props = {}) => html`<${Line} label=${t(name)} why=${why[name === 'flags' ? 'featureFlags' : name]} hint=${name === 'flags' ? t('flagsHint') : ''} ...${props} value=${v[name]} set=${(/** @type {string} */ text) => set({ [name]: text })} />`;
  return html`<${Dialog} wide title=${type ? type.name : t('newType')} close=${close} submit=${() => run()} foot=${html`<${Button} onClick=${close}>${t('cancel')}<//><${Button} kind="primary" type="submit" busy=${busy}>${t('save')}<//>`}>
    ${!type && input('name', { required: true, placeholder: 'invoice.paid', pattern: '[a-zA-Z0-9\\-_.]+', cls: 'mono' })}${input('description')}<div class="grid2">${input('groupName')}${input('flags')}</div>
    <${Line} rows=${12} label=${t('schemas')} hint=${t('schemasHint')} why=${why.schemas} value=${v.schemas} set=${(/** @type {string} */ schemas) => set({ schemas })} />
    <label class="check"><input type="checkbox" checked=${v.deprecated} onChange=${(/** @type {any} */ e) => set({ deprecated: e.target.checked })} />${t('deprecated')}</label><//>`;
}

/** Event types out of an OpenAPI document: first what would change. @param {{close: () => void, saved: () => void}} props */
function Import({ close, saved }) {
  const [spec, set] = useState('');
  const [diff, plan] = useState(/** @type {any[] | null} */ (null));
  const send = (/** @type {boolean} */ dryRun) => call('POST', '/event-type/import/openapi', { body: { specRaw: spec, dryRun, replaceAll: false } });
  const [busy, run] = useWork(async () => {
    const { data } = await send(!diff);
    if (!diff) return plan(data.to_modify);
    saved();
    return close();
  });
  return html`<${Dialog} wide title=${t('importOpenapi')} close=${close} submit=${() => run()} foot=${html`<${Button} onClick=${close}>${t('cancel')}<//><${Button} kind="primary" type="submit" busy=${busy} disabled=${diff?.length === 0}>${t(diff ? 'importNow' : 'showChanges')}<//>`}><${Line} rows=${12} required label="OpenAPI" hint=${t('importHint')} value=${spec} set=${(/** @type {string} */ text) => { set(text); plan(null); }} />
    ${diff && html`<div class="note"><div><p class="strong">${t('nTypes', { n: diff.length })}</p>${diff.map((each) => html`<span class="tag">${each.created ? '+ ' : each.archived ? '− ' : '± '}${each.name}</span> `)}</div></div>`}<//>`;
}

/** @param {{id: string}} props */
function One({ id }) {
  const type = useGet('/event-type/' + encodeURIComponent(id));
  const [open, set] = useState('');
  const close = () => set('');
  const at = '/event-type/' + encodeURIComponent(id);
  const [busy, back] = useWork(async () => {
    await change('PATCH', at, { archived: false });
    type.reload();
  }, t('saved'));
  const crumbs = [[t('eventTypes'), '#/types'], [id]];
  if (type.error) return html`<${Head} crumbs=${crumbs} title=${id} /><${Failure} error=${type.error} retry=${type.reload} />`;
  if (!type.data) return html`<${Skeleton} />`;
  return html`<${Head} crumbs=${crumbs} title=${id} sub=${type.data.description}><${Button} icon="edit" onClick=${() => set('edit')}>${t('edit')}<//>${type.data.archived ? html`<${Button} busy=${busy} onClick=${() => back()}>${t('unarchive')}<//>` : html`<${Button} kind="danger" onClick=${() => set('archive')}>${t('archive')}<//>`}<//>
    <div class="row">${['deprecated', 'archived'].map((name) => type.data[name] && html`<span class="tag">${t(name)}</span>`)}${type.data.groupName && html`<span class="tag">${type.data.groupName}</span>`}${(type.data.featureFlags || []).map((/** @type {string} */ f) => html`<span class="tag">${t('flags')}: ${f}</span>`)}</div>
    <${TypeView} type=${type.data} />
    ${open === 'edit' && html`<${Editor} type=${type.data} close=${close} saved=${() => { toast(t('saved')); type.reload(); }} />`}
    ${open === 'archive' && html`<${Confirm} danger title=${t('archive')} text=${t('archiveText')} yes=${t('archive')} close=${close} act=${async () => { await change('DELETE', at); type.reload(); go('/types'); }} />`}`;
}

/** @param {{route: import('./router.js').Route, id?: string}} props */
export default function Types({ route, id }) {
  const { q = '', archived = '' } = route.query;
  const list = usePages(id ? null : '/event-type', { with_content: false, include_archived: !!archived }, 100);
  const [open, set] = useState('');
  if (id) return html`<${One} key=${id} id=${id} />`;
  const shown = list.items.filter((type) => !q || `${type.name} ${type.description} ${type.groupName || ''}`.toLowerCase().includes(q.toLowerCase()));
  const close = () => set('');
  return html`<${Head} title=${t('eventTypes')} sub=${t('eventTypesSub')}><${Button} icon="download" onClick=${() => set('import')}>${t('importOpenapi')}<//><${Button} kind="primary" icon="plus" onClick=${() => set('new')}>${t('newType')}<//><//>
    <div class="row spread"><${Search} label=${t('searchTypes')} value=${q} set=${(/** @type {string} */ v) => filter({ q: v }, true)} /><label class="check"><input type="checkbox" checked=${!!archived} onChange=${(/** @type {any} */ e) => filter({ archived: e.target.checked && 'yes' })} />${t('showArchived')}</label></div>
    <div class="card"><${Listed} list=${{ ...list, items: shown }} empty=${html`<${Empty} icon="book" title=${t(q ? 'noMatch' : 'noTypes')}>${q ? '' : t('noTypesText')}<//>`}><div class="tablebox"><table><thead><tr><th>${t('name')}</th><th class="hide-s">${t('description')}</th><th class="hide-s">${t('groupName')}</th><th class="hide-s">${t('updated')}</th></tr></thead><tbody>${shown.map((type) => html`<tr key=${type.name} class="go" onClick=${() => go('/types/' + encodeURIComponent(type.name))}><td><a class="mono plain strong wrapany" href=${href('/types/' + encodeURIComponent(type.name))}>${type.name}</a> ${['deprecated', 'archived'].map((name) => type[name] && html`<span class="tag">${t(name)}</span>`)}</td><td class="hide-s dim">${type.description}</td><td class="hide-s dim">${type.groupName}</td><td class="hide-s dim"><${Time} at=${type.updatedAt} /></td></tr>`)}</tbody></table></div><//></div>
    ${open === 'new' && html`<${Editor} close=${close} saved=${list.reload} />`}${open === 'import' && html`<${Import} close=${close} saved=${list.reload} />`}`;
}
