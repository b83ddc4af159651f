// @ts-check
import { html } from './preact.js';
import { Empty, LinkButton } from './ui.js';
import { t } from './i18n.js';

/** A route that leads nowhere. */
export default function Missing() {
  return html`<div class="card"><${Empty} icon="search" title=${t('missingTitle')} actions=${html`<${LinkButton} href="#/">${t('home')}<//>`}>${t('missingText')}<//></div>`;
}
