// @ts-check
import { html } from './preact.js';
import { Empty, Head, LinkButton } from './ui.js';
import { t } from './i18n.js';

/** A route that leads nowhere. */
export default function Missing() {
  return html`<${Head} title=${t('missingTitle')} /><div class="card"><${Empty} icon="search" title=${t('missingText')} actions=${html`<${LinkButton} href="#/">${t('home')}<//>`} /></div>`;
}
