// @ts-check
/** Background tasks of the organisation. */
import { html, useEffect } from './preact.js';
import { operator } from './session.js';
import { useEvery, usePages } from './data.js';
import { filter, href } from './router.js';
import { Empty, Head, Listed, Segments, Status, Time } from './ui.js';
import { num, t } from './i18n.js';

/** @param {{task: any, link?: boolean}} props */
export const TaskRow = ({ task, link }) => html`<div class="item stack"><${Status} state=${task.status} /><span class="grow"><span class="strong">${t('task_' + task.task)}</span>${link && task.data?.appId && html`<br /><a class="mono" href=${href(`/app/${task.data.appId}${task.data.endpointId ? '/endpoints/' + task.data.endpointId : ''}`)}>${task.data.endpointId || task.data.appId}</a>`}</span>
  ${task.data?.messagesSent !== undefined && html`<span class="num">${t('nSent', { n: task.data.messagesSent })}</span>`}${task.data?.itemsErased !== undefined && html`<span class="num">${num(task.data.itemsErased)}</span>`}<span class="dim small"><${Time} at=${task.updatedAt} /></span></div>`;

/** What was begun for an application or one of its endpoints, and how far it is. @param {{app: any, endpoint?: string, turn?: number}} props */
export function TaskHistory({ app, endpoint, turn = 0 }) {
  const list = usePages('/background-task');
  // An operator's list is of all applications.
  const items = list.items.filter(({ data }) => (endpoint ? data.endpointId === endpoint : !operator() || data.appId === app.id));
  useEffect(() => {
    if (turn) list.reload();
  }, [turn]);
  useEvery(list.reload, list.items.length <= 50 && items.some((task) => task.status === 'running') ? 2 : null);
  return html`<div class="card"><header><h2>${t('history')}</h2></header><${Listed} list=${{ ...list, items }} empty=${html`<p class="pad dim">${t('noTasks')}</p>`}><ul class="list">${items.map((task) => html`<li key=${task.id}><${TaskRow} task=${task} /></li>`)}</ul><//></div>`;
}

/** @param {{route: import('./router.js').Route}} props */
export default function Tasks({ route }) {
  const { status = '' } = route.query;
  const list = usePages('/background-task', { status });
  useEvery(list.reload, list.items.length <= 50 && list.items.some((task) => task.status === 'running') ? 3 : null);
  return html`<${Head} title=${t('tasks')} sub=${t('tasksSub')} />
    <div class="row"><${Segments} label=${t('status')} value=${status} set=${(/** @type {string} */ v) => filter({ status: v })} options=${[['', t('all')], ...['running', 'finished', 'failed'].map((s) => [s, t('st_' + s)])]} /></div>
    <div class="card"><${Listed} list=${list} empty=${html`<${Empty} icon="task" title=${t('noTasks')} />`}><ul class="list">${list.items.map((task) => html`<li key=${task.id}><${TaskRow} task=${task} link /></li>`)}</ul><//></div>`;
}
