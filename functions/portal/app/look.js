// @ts-check
/** The look of the portal for all customers, with a preview on the page itself. */
import { html, useEffect, useState } from './preact.js';
import { change, reasons, stale } from './api.js';
import { useGet } from './data.js';
import { Button, Choice, Failure, Field, Head, Line, Pill, Skeleton, Status, useWork } from './ui.js';
import { Spark } from './charts.js';
import { apply, isDark, toggle } from './theme.js';
import { t } from './i18n.js';

const NAMES = /** @type {const} */ (['displayName', 'logoUrl', 'fontFamily']);
const POINTS = Array.from({ length: 24 }, (_, i) => ({ at: '', success: 20 + ((i * 37) % 50), fail: i % 7 === 3 ? 12 : 0 }));

export default function Look() {
  const now = useGet('/environment/settings');
  const [v, setAll] = useState(/** @type {Record<string, any>} */ ({}));
  const [why, say] = useState(/** @type {Record<string, string>} */ ({}));
  const [, redraw] = useState(0);
  // The same answer again takes nothing from who edits it.
  const saved = JSON.stringify(now.data);
  useEffect(() => setAll(now.data || {}), [saved]);
  // What is tried is seen at once; what was not saved is gone with the screen.
  useEffect(() => () => apply(now.data || {}), [saved]);
  const set = (/** @type {Record<string, any>} */ part) => {
    const next = { ...v, ...part };
    setAll(next);
    apply(next);
    redraw((n) => n + 1);
  };
  const [busy, save] = useWork(async () => {
    try {
      await change('PUT', '/environment/settings', Object.fromEntries(Object.entries(v).filter(([, value]) => value !== '' && value !== null)));
      say({});
      stale();
      now.reload();
    } catch (error) {
      say(reasons(error));
      throw error;
    }
  }, t('saved'));
  if (now.error) return html`<${Head} title=${t('theme')} /><${Failure} error=${now.error} retry=${now.reload} />`;
  if (!now.data) return html`<${Skeleton} />`;
  const color = (/** @type {string} */ name) => html`<${Field} label=${t(name)} why=${why[name]}>${(/** @type {any} */ p) => html`<div class="row nowrap"><input type="color" aria-label=${t(name)} value=${'#' + (v[name] || (name.endsWith('Dark') ? '6560e8' : '4f46e5'))} onInput=${(/** @type {any} */ e) => set({ [name]: e.target.value.slice(1) })} /><input class="in mono" ...${p} maxlength="6" placeholder="4f46e5" value=${v[name] || ''} onInput=${(/** @type {any} */ e) => set({ [name]: e.target.value.replace('#', '') })} /></div>`}<//>`;
  return html`<${Head} title=${t('theme')} sub=${t('themeSub')}><${Button} icon=${isDark() ? 'sun' : 'moon'} onClick=${() => { toggle(); redraw((n) => n + 1); }}>${t(isDark() ? 'lightMode' : 'darkMode')}<//><//>
    <div class="grid2"><form class="card" onSubmit=${(/** @type {Event} */ e) => { e.preventDefault(); save(); }}><div class="pad col">${NAMES.map((name) => html`<${Line} key=${name} label=${t(name)} hint=${t('hint_' + name)} why=${why[name]} value=${v[name] || ''} set=${(/** @type {string} */ text) => set({ [name]: text })} />`)}
      <div class="grid2">${color('primaryColorLight')}${color('primaryColorDark')}</div>
      <${Choice} label=${t('mode')} why=${why.darkMode} value=${String(v.darkMode ?? 'auto')} set=${(/** @type {string} */ m) => set({ darkMode: m })} options=${[['auto', t('modeAuto')], ['false', t('lightMode')], ['true', t('darkMode')]]} /></div><div class="dlg-f"><${Button} kind="primary" type="submit" busy=${busy}>${t('save')}<//></div></form>
      <section class="card" aria-label=${t('preview')}><header><h2>${v.displayName || t('webhooks')}</h2><${Button} kind="primary" small icon="plus">${t('addEndpoint')}<//></header><div class="pad col"><div class="row spread"><div><span class="strong">api.example.com</span><span class="dim">/webhooks</span></div><${Pill} kind="ok" icon="check">${t('ep_active')}<//></div><${Spark} points=${POINTS} /><div class="row"><${Status} state="success" /><${Status} state="sending" /><${Status} state="fail" /><a href="#/theme">${t('openMessage', { id: '' })}</a></div><input class="in" aria-label=${t('preview')} placeholder="https://…" /></div></section></div>`;
}
