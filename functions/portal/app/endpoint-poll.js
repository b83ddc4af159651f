// @ts-check
/** How an endpoint is polled: its key, a request to copy, and what it would get. */
import { html, useState } from './preact.js';
import { can, session } from './session.js';
import { call, change, text } from './api.js';
import { Button, Choice, Confirm, Dialog, useWork } from './ui.js';
import { Block, Copy, pretty } from './code.js';
import { graces } from './endpoint-secret.js';
import { date, lasting, t } from './i18n.js';

/** How long the key before stays valid, and the lives of a new one: seconds. */
const KEY_GRACES = [0, 300, 3600, 86400];
const KEY_LIVES = [86400, 2592000, 31536000];

/** @param {{path: string, close: () => void, done: (key: any) => void}} props */
function NewKey({ path, close, done }) {
  const [grace, set] = useState('300');
  const [life, last] = useState('');
  const [busy, run] = useWork(async () => {
    done(await change('POST', path + '/rotate', { oldTokenExpiry: Number(grace), expiry: Number(life) || undefined }));
    close();
  }, t('saved'));
  return html`<${Dialog} title=${t('newKey')} close=${close} submit=${() => run()} foot=${html`<${Button} onClick=${close}>${t('cancel')}<//><${Button} kind="primary" type="submit" busy=${busy}>${t('newKey')}<//>`}>
    <${Choice} label=${t('expires')} value=${life} set=${last} options=${[['', t('never')], ...KEY_LIVES.map((each) => [String(each), lasting(each)])]} /><${Choice} label=${t('grace')} value=${grace} set=${set} options=${graces(KEY_GRACES)} /><//>`;
}

/** @param {{app: any, endpoint: any, path: string}} props */
export default function Poll({ app, endpoint, path }) {
  const at = path + '/poller/token';
  const [key, set] = useState(/** @type {any} */ (null));
  const [asked, ask] = useState('');
  const [iterator, next] = useState('');
  const [got, show] = useState('');
  const see = can('ViewEndpointSecret');
  const [busy, reveal] = useWork(async () => set(await call('GET', at).catch((error) => {
    if (error.status === 404) return { none: true };
    throw error;
  })));
  const poller = `${app.path}/poller/${endpoint.id}`;
  const [polling, poll] = useWork(async () => {
    // The first response of all has an iterator, and no messages yet.
    const from = iterator || (await call('GET', poller)).iterator;
    const answer = await text('GET', poller, { query: { iterator: from, limit: 5 } });
    show(pretty(answer));
    next(JSON.parse(answer).iterator);
  });
  const close = () => ask('');
  const url = (session.base || location.origin) + '/api/v1' + poller;
  const curl = `KEY=${key?.token || 'sk_poll_…'}\ncurl "${url}" -H "Authorization: Bearer $KEY"\ncurl "${url}?iterator=…" -H "Authorization: Bearer $KEY"`;
  return html`<div class="card"><header><h2>${t('pollKey')}</h2>${can('ManageEndpointSecret') && html`<div class="row tight"><${Button} small icon="key" onClick=${() => ask('new')}>${t('newKey')}<//><${Button} small kind="danger" onClick=${() => ask('revoke')}>${t('revokeKeys')}<//></div>`}</header><div class="pad col"><p class="dim">${t('pollKeyText')}</p>
      ${see || key ? key?.none ? html`<p>${t('noKey')}</p>` : html`<div class="row nowrap"><input class="in mono" readonly aria-label=${t('pollKey')} value=${key ? key.token : '•'.repeat(32)} dir="ltr" />${key ? html`<${Copy} text=${key.token} kind="" />` : html`<${Button} icon="eye" busy=${busy} onClick=${() => reveal()}>${t('reveal')}<//>`}</div>${key?.expiresAt && html`<p class="hint">${t('expires')}: ${date(key.expiresAt)}</p>`}` : html`<div class="note warn">${t('needs', { capability: 'ViewEndpointSecret' })}</div>`}</div></div>
    <div class="card"><header><h2>${t('pollHow')}</h2><${Button} small icon="inbox" busy=${polling} disabled=${endpoint.disabled} onClick=${() => poll()}>${t('pollNow')}<//></header><div class="pad col"><p class="dim">${t('pollHowText')}</p><${Block} text=${curl} label="curl" />${got && html`<${Block} text=${got} json label=${t('answer')} />`}</div></div>
    ${asked === 'new' && html`<${NewKey} path=${at} close=${close} done=${set} />`}
    ${asked === 'revoke' && html`<${Confirm} danger title=${t('revokeKeys')} text=${t('revokeKeysText')} yes=${t('revokeKeys')} close=${close} act=${() => change('DELETE', at).then(() => set({ none: true }))} />`}`;
}
