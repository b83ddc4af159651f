// @ts-check
/** Recovery of one endpoint: a count before, progress after. */
import { html, useState } from './preact.js';
import { can } from './session.js';
import { call, change } from './api.js';
import { Button, Dialog, Line, Range, Segments, Select, useWork } from './ui.js';
import { TaskHistory } from './tasks.js';
import { num, t } from './i18n.js';

const KINDS = ['recover', 'replay-missing', 'bulk-replay'];
const HOURS = ['1', '6', '24', '72', '168', '336'];

/** @param {{app: any, endpoint: any, path: string}} props */
export default function Recover({ app, endpoint, path }) {
  const [kind, choose] = useState('recover');
  const [hours, span] = useState('24');
  const [own, range] = useState({ from: '', to: '' });
  const [filters, only] = useState({ eventTypes: '', channel: '', tag: '', status: '', statusCodeClass: '' });
  const [asked, ask] = useState(/** @type {any} */ (null));
  const [begun, again] = useState(0);
  const body = () => {
    const since = hours === 'own' ? own.from : new Date(Date.now() - Number(hours) * 3.6e6).toISOString();
    const until = hours === 'own' && own.to ? own.to : undefined;
    const more = kind === 'bulk-replay' ? { eventTypes: filters.eventTypes.split(/[\s,]+/).filter(Boolean), channel: filters.channel || undefined, tag: filters.tag || undefined, status: filters.status === '' ? undefined : Number(filters.status), statusCodeClass: filters.statusCodeClass === '' ? undefined : Number(filters.statusCodeClass) } : {};
    if ('eventTypes' in more && !more.eventTypes?.length) delete more.eventTypes;
    return { since, until, ...more };
  };
  const starred = filters.eventTypes.includes('*');
  const [busy, count] = useWork(async () => {
    const wanted = body();
    if (!wanted.since) throw new Error(t('needFrom'));
    ask({ wanted, found: await call('POST', `${path}/${kind}/count`, { body: wanted }) });
  });
  const [starting, start] = useWork(async () => {
    await change('POST', `${path}/${kind}`, asked.wanted);
    ask(null);
    again((n) => n + 1);
  }, t('taskStarted'));
  if (!can('CreateAttempts')) return html`<div class="note warn">${t('needs', { capability: 'CreateAttempts' })}</div>`;
  const text = (/** @type {keyof typeof filters} */ name) => html`<${Line} label=${t(name)} why=${name === 'eventTypes' && starred && t('wholeTypes')} value=${filters[name]} set=${(/** @type {string} */ typed) => only({ ...filters, [name]: typed })} />`;
  return html`<div class="card"><header><h2>${t('tab_recovery')}</h2></header><div class="pad col"><div><${Segments} label=${t('what')} value=${kind} set=${choose} options=${KINDS.map((k) => [k, t('do_' + k)])} /></div><p class="dim">${t('about_' + kind)}</p>
      <div class="row"><span class="lab">${t('period')}</span><${Select} label=${t('period')} value=${hours} set=${span} options=${[...HOURS.map((h) => [h, t('lastHours', { n: Number(h) })]), ['own', t('ownRange')]]} />
        ${hours === 'own' && html`<${Range} ...${own} set=${(/** @type {any} */ part) => range({ ...own, ...part })} />`}</div>
      ${kind === 'bulk-replay' && html`<div class="grid2">${text('eventTypes')}${text('channel')}${text('tag')}<div class="row"><${Select} label=${t('status')} value=${filters.status} set=${(/** @type {string} */ v) => only({ ...filters, status: v })} options=${[['', t('status') + ': ' + t('all')], ['0', t('st_success')], ['2', t('st_fail')]]} /><${Select} label=${t('codeClass')} value=${filters.statusCodeClass} set=${(/** @type {string} */ v) => only({ ...filters, statusCodeClass: v })} options=${[['', t('codeClass')], ...['200', '300', '400', '500'].map((c) => [c, c[0] + 'xx'])]} /></div></div>`}
      <div class="row"><${Button} kind="primary" icon="repair" busy=${busy} disabled=${endpoint.disabled || (kind === 'bulk-replay' && starred)} onClick=${() => count()}>${t('countFirst')}<//>${endpoint.disabled && html`<span class="hint">${t('testDisabled')}</span>`}</div></div></div>
    <${TaskHistory} app=${app} endpoint=${endpoint.id} turn=${begun} />
    ${asked && html`<${Dialog} title=${t('do_' + kind)} close=${() => ask(null)} foot=${html`<${Button} onClick=${() => ask(null)}>${t('cancel')}<//><${Button} kind="primary" icon="send" busy=${starting} disabled=${asked.found.count === 0} onClick=${() => start()}>${t('startNow')}<//>`}>
      <p><span class="strong num">${asked.found.more ? t('moreThan', { n: asked.found.count }) : num(asked.found.count)}</span> ${t(asked.found.count === 1 ? 'messageWill' : 'messagesWill')}</p><p class="dim">${t('about_' + kind)}</p><//>`}`;
}
