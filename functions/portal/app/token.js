// @ts-check
/** Tokens: whose this page's is, and how to revoke one. */
import { html, useState } from './preact.js';
import { session } from './session.js';
import { call } from './api.js';
import { Button, Head, Line, useWork } from './ui.js';
import { date, t } from './i18n.js';

export default function Token() {
  const who = session.who;
  const [token, set] = useState('');
  const [busy, revoke] = useWork(async () => {
    const text = token.trim();
    await call('POST', '/auth/revoke-token', { body: /^[0-9a-f]{64}$/.test(text) ? { tokenId: text } : { token: text } });
    set('');
  }, t('revoked'));
  return html`<${Head} title=${t('tokens')} sub=${t('tokensSub')} />
    <div class="grid2"><div class="card"><header><h2>${t('whoAmI')}</h2></header><div class="pad"><dl class="kv"><dt>${t('organisation')}</dt><dd class="mono">${who?.envId || '–'}</dd><dt>${t('capabilities')}</dt><dd><span class="row tight">${who?.capabilities.map((each) => html`<span class="tag">${each}</span>`)}</span></dd><dt>${t('expires')}</dt><dd>${who?.expiresAt ? date(who.expiresAt) : t('never')}</dd></dl></div></div>
      <form class="card" onSubmit=${(/** @type {Event} */ e) => { e.preventDefault(); revoke(); }}><header><h2>${t('revoke')}</h2></header><div class="pad col"><${Line} label=${t('tokenOrId')} hint=${t('revokeHint')} cls="mono" required autocomplete="off" spellcheck=${false} value=${token} set=${set} /><div class="row"><${Button} kind="danger" type="submit" busy=${busy}>${t('revoke')}<//></div></div></form></div>`;
}
