// @ts-check
/** An endpoint's signing secret: reveal it, rotate it, and how a receiver verifies with it. */
import { html, useState } from './preact.js';
import { can } from './session.js';
import { call, change } from './api.js';
import { Icon } from './icons.js';
import { Button, Choice, Dialog, Line, useWork } from './ui.js';
import { Copy } from './code.js';
import Verify from './verify.js';
import { date, lasting, t } from './i18n.js';

/** How long the secret before stays valid: seconds. */
const GRACES = [0, 3600, 86400, 259200, 604800];

/** Times to choose. @param {number[]} seconds @returns {[string, string][]} */
export const graces = (seconds) => seconds.map((each) => [String(each), each ? lasting(each) : t('grace_0')]);

/** @param {{path: string, close: () => void, done: (secret: any) => void}} props */
function Rotate({ path, close, done }) {
  const [grace, set] = useState('86400');
  const [key, own] = useState('');
  const [busy, run] = useWork(async () => {
    done(await change('POST', path + '/secret/rotate', { gracePeriodSeconds: Number(grace), key: key || undefined }));
    close();
  }, t('rotated'));
  return html`<${Dialog} title=${t('rotate')} close=${close} submit=${() => run()} foot=${html`<${Button} onClick=${close}>${t('cancel')}<//><${Button} kind="primary" type="submit" busy=${busy}>${t('rotate')}<//>`}><p class="dim">${t('rotateText')}</p>
    <${Choice} label=${t('grace')} hint=${t('graceHint')} value=${grace} set=${set} options=${graces(GRACES)} />
    <${Line} label=${t('ownSecret')} hint=${t('ownSecretHint')} cls="mono" autocomplete="off" spellcheck=${false} placeholder="whsec_…" value=${key} set=${(/** @type {string} */ text) => own(text.trim())} /><//>`;
}

/** @param {{app: any, endpoint: any, path: string}} props */
export default function Secret({ path }) {
  const [secret, set] = useState(/** @type {any} */ (null));
  const [hidden, hide] = useState(true);
  const [asking, ask] = useState(false);
  const see = can('ViewEndpointSecret');
  const read = async () => {
    const fresh = secret || (await call('GET', path + '/secret'));
    set(fresh);
    return fresh.key;
  };
  const [busy, reveal] = useWork(async () => {
    await read();
    hide(false);
  });
  const shown = see && !hidden && secret;
  return html`<div class="card"><header><h2>${t('secret')}</h2>${can('ManageEndpointSecret') && html`<${Button} small icon="refresh" onClick=${() => ask(true)}>${t('rotate')}<//>`}</header><div class="pad col"><p class="dim">${t('secretText')}</p>
      ${see ? html`<div class="row nowrap"><input class="in mono" readonly aria-label=${t('secret')} value=${shown ? secret.key : '•'.repeat(32)} dir="ltr" />${shown ? html`<${Button} onClick=${() => hide(true)}>${t('hide')}<//>` : html`<${Button} icon="eye" busy=${busy} onClick=${() => reveal()}>${t('reveal')}<//>`}<${Copy} text=${read} kind="" /></div>` : secret?.key ? html`<div class="note ok"><span class="grow"><span class="mono wrapany">${secret.key}</span><br />${t('secretOnce')}</span><${Copy} text=${secret.key} kind="" /></div>` : html`<div class="note warn">${t('needs', { capability: 'ViewEndpointSecret' })}</div>`}
      ${secret && html`<ul class="col tight small plain"><li class="row tight"><span class="ok-t"><${Icon} name="check" /></span>${t('keyNow')}</li>${(secret.previousKeys || []).map((/** @type {any} */ old) => html`<li class="row tight"><span class="warn-t"><${Icon} name="clock" /></span>${t('keyOld', { at: date(old.until) })}</li>`)}</ul>`}</div></div>
    <${Verify} secret=${shown ? secret.key : ''} style="" />
    ${asking && html`<${Rotate} path=${path} close=${() => ask(false)} done=${(/** @type {any} */ fresh) => set(fresh || null)} />`}`;
}
