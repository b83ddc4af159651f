// @ts-check
/** Services that the organisation has prepared: their endpoints begin with code that makes messages what the service takes. */
import { html } from './preact.js';
import { can } from './session.js';
import { useGet } from './data.js';
import { Icon } from './icons.js';
import { picture } from './theme.js';
import { t } from './i18n.js';

/** What of Markdown instructions are shown in: code, strong words, links. */
const INLINE = /`([^`]+)`|\*\*([^*]+)\*\*|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/g;

/** @param {string} text */
function inline(text) {
  const out = [];
  let from = 0;
  for (const match of text.matchAll(INLINE)) {
    const [whole, code, strong, label, to] = match;
    out.push(text.slice(from, match.index), code ? html`<code>${code}</code>` : strong ? html`<b>${strong}</b>` : html`<a href=${to} target="_blank" rel="noopener noreferrer">${label}</a>`);
    from = match.index + whole.length;
  }
  return [...out, text.slice(from)];
}

/** Instructions: what is not understood of their Markdown is text as it is, never markup. @param {{text: string}} props */
const Instructions = ({ text }) => text.split(/\n\s*\n/).map((part) => html`<p class="wrapany">${part.split('\n').map((line, i) => html`${i > 0 && html`<br />`}${inline(line.replace(/^#+ /, '').replace(/^[-*] /, '• '))}`)}</p>`);

/** The services to choose from, if there are any: nothing waits for them. @param {{value: any, set: (connector: any) => void}} props */
export default function Connectors({ value, set }) {
  const list = useGet(can('ManageTransformations') ? '/connector' : null, { limit: 250 });
  const items = list.data?.data || [];
  return items.length > 0 && html`<div class="card pad col" role="group" aria-label=${t('service')}><div><h2>${t('service')}</h2><p class="hint">${t('serviceHint')}</p></div>
    <div class="grid2">${items.map((/** @type {any} */ one) => html`<button type="button" key=${one.id} class="pick" aria-pressed=${value?.id === one.id ? 'true' : 'false'} onClick=${() => set(value?.id === one.id ? null : one)}>${picture(one.logo) ? html`<img src=${picture(one.logo)} alt="" width="28" height="28" referrerpolicy="no-referrer" />` : html`<${Icon} name="send" size=${28} />`}<span class="grow wrapany"><b>${one.name}</b>${one.description && html`<br /><span class="dim small">${one.description}</span>`}</span></button>`)}</div>
    ${value?.instructions && html`<div class="note"><div class="col tight grow"><${Instructions} text=${value.instructions} /></div></div>`}</div>`;
}
