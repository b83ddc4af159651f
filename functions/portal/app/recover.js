// @ts-check
/** Recovery of one endpoint: a count before, progress after. */
import { html, useState } from './preact.js';
import { can } from './session.js';
import { call, change } from './api.js';
import { useEvery } from './data.js';
import { Button, complain, Dialog, Field, Pill, Segments, Select, Status, useWork } from './ui.js';
import { num, t } from './i18n.js';

const KINDS = ['recover', 'replay-missing', 'bulk-replay'];
const HOURS = ['1', '6', '24', '72', '168', '336'];

/** Tasks of this session, by application: their history is the organisation's to read. @type {any[]} */
export const started = [];

/** @param {{task: any}} props */
export function Progress({ task }) {
  const [now, set] = useState(task);
  const [blind, see] = useState(false);
  // Where this token may not read tasks, the page says that the work goes on, and no more.
  useEvery(() => call('GET', '/background-task/' + task.id).then((fresh) => set({ ...Object.assign(task, fresh) }), (error) => (error.status === 403 ? see(true) : complain(error))), now.status === 'running' && !blind ? 2 : null);
  const sent = now.data?.messagesSent;
  if (blind) return html`<div class="item"><${Pill} kind="info" icon="task">${t('taskStarted')}<//><span class="grow">${t('task_' + now.task)}</span><span class="dim small">${t('taskBlind')}</span></div>`;
  return html`<div class="item"><${Status} state=${now.status} /><span class="grow">${t('task_' + now.task)}</span>${sent !== undefined && html`<span class="num dim">${t('nSent', { n: sent })}</span>`}</div>`;
}

/** @param {{endpoint: any, path: string}} props */
export default function Recover({ endpoint, path }) {
  const [kind, choose] = useState('recover');
  const [hours, span] = useState('24');
  const [own, range] = useState({ from: '', to: '' });
  const [filters, only] = useState({ eventTypes: '', channel: '', tag: '', status: '', statusCodeClass: '' });
  const [asked, ask] = useState(/** @type {any} */ (null));
  const [, redraw] = useState(0);
  const body = () => {
    const since = hours === 'own' ? own.from && new Date(own.from).toISOString() : new Date(Date.now() - Number(hours) * 3.6e6).toISOString();
    const until = hours === 'own' && own.to ? new Date(own.to).toISOString() : undefined;
    const more = kind === 'bulk-replay' ? { eventTypes: filters.eventTypes.split(/[\s,]+/).filter(Boolean), channel: filters.channel || undefined, tag: filters.tag || undefined, status: filters.status === '' ? undefined : Number(filters.status), statusCodeClass: filters.statusCodeClass === '' ? undefined : Number(filters.statusCodeClass) } : {};
    if ('eventTypes' in more && !more.eventTypes?.length) delete more.eventTypes;
    return { since, until, ...more };
  };
  const [busy, count] = useWork(async () => {
    const wanted = body();
    if (!wanted.since) throw new Error(t('needFrom'));
    // Where counting is not offered, the dialog says so instead of a number.
    const found = await call('POST', `${path}/${kind}/count`, { body: wanted }).catch((error) => {
      if ([404, 501].includes(error.status)) return null;
      throw error;
    });
    ask({ wanted, found });
  });
  const [starting, start] = useWork(async () => {
    const task = await change('POST', `${path}/${kind}`, asked.wanted);
    started.unshift({ ...task, endpoint: endpoint.id });
    ask(null);
    redraw((n) => n + 1);
  }, t('taskStarted'));
  if (!can('CreateAttempts')) return html`<div class="note warn">${t('needs', { capability: 'CreateAttempts' })}</div>`;
  const own_ = started.filter((task) => task.endpoint === endpoint.id);
  const text = (/** @type {keyof typeof filters} */ name) => html`<${Field} label=${t(name === 'eventTypes' ? 'eventTypes' : name)}>${(/** @type {any} */ p) => html`<input class="in" ...${p} value=${filters[name]} onInput=${(/** @type {any} */ e) => only({ ...filters, [name]: e.target.value })} />`}<//>`;
  return html`<div class="card"><header><h2>${t('tab_recovery')}</h2></header><div class="pad col"><div><${Segments} label=${t('what')} value=${kind} set=${choose} options=${KINDS.map((k) => [k, t('do_' + k)])} /></div><p class="dim">${t('about_' + kind)}</p>
      <div class="row"><span class="lab">${t('period')}</span><${Select} label=${t('period')} value=${hours} set=${span} options=${[...HOURS.map((h) => [h, t('lastHours', { n: Number(h) })]), ['own', t('ownRange')]]} />
        ${hours === 'own' && ['from', 'to'].map((name) => html`<label class="row tight small">${t(name)}<input class="in" type="datetime-local" value=${own[/** @type {'from' | 'to'} */ (name)]} onChange=${(/** @type {any} */ e) => range({ ...own, [name]: e.target.value })} /></label>`)}</div>
      ${kind === 'bulk-replay' && html`<div class="grid2">${text('eventTypes')}${text('channel')}${text('tag')}<div class="row"><${Select} label=${t('status')} value=${filters.status} set=${(/** @type {string} */ v) => only({ ...filters, status: v })} options=${[['', t('status') + ': ' + t('all')], ['0', t('st_success')], ['2', t('st_fail')]]} /><${Select} label=${t('codeClass')} value=${filters.statusCodeClass} set=${(/** @type {string} */ v) => only({ ...filters, statusCodeClass: v })} options=${[['', t('codeClass')], ...['200', '300', '400', '500'].map((c) => [c, c[0] + 'xx'])]} /></div></div>`}
      <div class="row"><${Button} kind="primary" icon="repair" busy=${busy} disabled=${endpoint.disabled} onClick=${() => count()}>${t('countFirst')}<//>${endpoint.disabled && html`<span class="hint">${t('testDisabled')}</span>`}</div></div></div>
    ${own_.length > 0 && html`<div class="card"><header><h2>${t('progress')}</h2></header><ul class="list">${own_.map((task) => html`<li key=${task.id}><${Progress} task=${task} /></li>`)}</ul></div>`}
    ${asked && html`<${Dialog} title=${t('do_' + kind)} close=${() => ask(null)} foot=${html`<${Button} onClick=${() => ask(null)}>${t('cancel')}<//><${Button} kind="primary" icon="send" busy=${starting} disabled=${asked.found?.count === 0} onClick=${() => start()}>${t('startNow')}<//>`}>
      ${asked.found ? html`<p><span class="strong num">${asked.found.more ? t('moreThan', { n: asked.found.count }) : num(asked.found.count)}</span> ${t(asked.found.count === 1 ? 'messageWill' : 'messagesWill')}</p>` : html`<div class="note warn">${t('noCount')}</div>`}<p class="dim">${t('about_' + kind)}</p><//>`}`;
}
