// @ts-check
/** A portal link for an application's customer, and the end of their sessions. */
import { html, useEffect, useState } from './preact.js';
import { change } from './api.js';
import { Button, Choice, Confirm, Dialog, Line, LinkButton, useWork } from './ui.js';
import { Copy } from './code.js';
import { lasting, t } from './i18n.js';

const ALL = ['ViewBase', 'ViewEndpointSecret', 'ManageEndpointSecret', 'ManageEndpoint', 'CreateAttempts', 'ManageTransformations'];
/** Seconds that a session lasts. */
const LASTS = ['3600', '86400', '604800'];

/** @param {{app: any, close: () => void}} props */
export default function Access({ app, close }) {
  const [caps, set] = useState(ALL);
  const [expiry, last] = useState('86400');
  const [sessionId, name] = useState('');
  const [url, made] = useState('');
  const [ending, end] = useState(false);
  const [busy, run] = useWork(async () => made((await change('POST', '/auth/app-portal-access/' + encodeURIComponent(app.id), { capabilities: caps.length < ALL.length ? caps : undefined, expiry: Number(expiry), sessionId: sessionId || undefined })).url));
  // A link that was made is not one with what is chosen now.
  useEffect(() => made(''), [caps, expiry, sessionId]);
  if (ending) return html`<${Confirm} danger title=${t('endSessions')} text=${t('endSessionsText')} yes=${t('endSessions')} close=${close} act=${() => change('POST', `/auth/app/${encodeURIComponent(app.id)}/expire-all`, sessionId ? { sessionIds: [sessionId] } : {})} />`;
  return html`<${Dialog} title=${t('portalLink')} close=${close} submit=${() => run()} foot=${html`<${Button} kind="danger" onClick=${() => end(true)}>${t('endSessions')}<//><span class="grow"></span><${Button} kind="primary" type="submit" icon="link" busy=${busy} disabled=${!caps.length}>${t('makeLink')}<//>`}><p class="dim">${t('portalLinkText')}</p>
    <fieldset class="field"><legend>${t('capabilities')}</legend>${ALL.map((each) => html`<label class="check"><input type="checkbox" checked=${caps.includes(each)} onChange=${() => set(caps.includes(each) ? caps.filter((c) => c !== each) : [...caps, each])} /><span>${t('cap_' + each)} <span class="dim mono">${each}</span></span></label>`)}</fieldset>
    <div class="grid2"><${Choice} label=${t('lasts')} value=${expiry} set=${last} options=${LASTS.map((s) => [s, lasting(Number(s))])} /><${Line} label=${t('sessionId')} hint=${t('sessionHint')} pattern="[a-zA-Z0-9@_\\-]{1,64}" value=${sessionId} set=${name} /></div>
    ${url && html`<div class="note ok"><span class="grow mono wrapany">${url.slice(0, 90)}…</span><${Copy} text=${url} kind="" /><${LinkButton} small href=${url} target="_blank" rel="noopener">${t('open')}<//></div>`}<//>`;
}
