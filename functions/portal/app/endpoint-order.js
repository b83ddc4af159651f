// @ts-check
/** How an ordered endpoint stands, and what people can do about what holds it up. */
import { html, useState } from './preact.js';
import { can } from './session.js';
import { change } from './api.js';
import { useEvery, useGet } from './data.js';
import { href } from './router.js';
import { Button, Confirm, Failure, Pill, Skeleton, Time, toast, useWork } from './ui.js';
import { t } from './i18n.js';

/** What each state looks like, and is called. @type {Record<string, [string, string, string]>} */
const STANDS = { enabled: ['ok', 'check', 'ep_active'], paused: ['', 'pause', 'paused'], disabled: ['', 'off', 'disabled'], retrying: ['warn', 'clock', 'orderRetrying'] };

/** @param {{app: any, path: string}} props */
export default function Order({ app, path }) {
  const now = useGet(path + '/order');
  const [asked, ask] = useState('');
  // While it is paused, what was skipped stays in the list.
  const [skipped, skip] = useState(/** @type {string[]} */ ([]));
  const [busy, run] = useWork(async (/** @type {string} */ what) => {
    await change('POST', `${path}/order/${what}`);
    await now.reload();
  }, t('saved'));
  useEvery(now.reload, now.data?.waitingKeys ? 5 : null);
  const { status, reason, waitingKeys, waiting } = now.data || {};
  const [kind, icon, name] = STANDS[status] || ['', 'info', status];
  return html`<div class="card"><header><h2>${t('order')}</h2>${status && html`<div class="row tight"><${Pill} kind=${kind} icon=${icon} title=${reason}>${t(name)}<//>
      ${can('CreateAttempts') && waitingKeys > 0 && html`<${Button} small icon="send" busy=${busy} onClick=${() => run('retry')}>${t('startNow')}<//>`}
      ${can('ManageEndpoint') && status !== 'disabled' && html`<${Button} small icon=${status === 'paused' ? 'play' : 'pause'} busy=${busy} onClick=${() => run(status === 'paused' ? 'resume' : 'pause')}>${t(status === 'paused' ? 'resume' : 'pause')}<//>`}</div>`}</header>
    ${now.error ? html`<div class="pad"><${Failure} error=${now.error} retry=${now.reload} /></div>` : !now.data ? html`<${Skeleton} rows=${2} />` : html`<p class="pad dim">${t('nWaiting', { n: waitingKeys })} ${reason}</p>
    <ul class="list">${waiting.map((/** @type {any} */ one) => html`<li key=${one.key}><div class="item stack"><a class="mono grow cut" href=${href(`${app.base}/messages/${one.msgId}`)}>${one.msgId}</a><span class="dim small"><${Time} at=${one.nextAttempt} /></span>${skipped.includes(one.msgId) ? html`<span class="tag">${t('skipped')}</span>` : can('ManageEndpoint') && html`<${Button} small kind="danger" onClick=${() => ask(one.msgId)}>${t('skipMessage')}<//>`}</div></li>`)}</ul>`}</div>
    ${asked && html`<${Confirm} danger title=${t('skipMessage')} text=${html`${t('skipText')}<br /><span class="mono">${asked}</span>`} yes=${t('skipMessage')} close=${() => ask('')} act=${async () => {
      await change('POST', path + '/order/skip', { msgId: asked });
      skip([...skipped, asked]);
      toast(t(status === 'paused' ? 'skippedPaused' : 'skipped'));
      await now.reload();
    }} />`}`;
}
