// @ts-check
/** A payload filter and an example to try it on. While one types, the server says what it does not take, and which fields do not match. */
import { html, useEffect, useState } from './preact.js';
import { call, reasons } from './api.js';
import { useGet } from './data.js';
import { Line } from './ui.js';
import { json, jsonProblem } from './code.js';
import { example } from './endpoint-test.js';
import { t } from './i18n.js';

/** Milliseconds without a key before the server is asked. */
const TYPED = 350;

/** @param {{app: any, value: string, set: (text: string) => void, why?: string, types: string[]}} props */
export default function FilterField({ app, value, set, why, types }) {
  const type = types.find((name) => !name.includes('*'));
  const detail = useGet(type && value ? '/event-type/' + encodeURIComponent(type) : null);
  const [own, edit] = useState(/** @type {string | null} */ (null));
  const payload = own ?? json(example(detail.data) || {}, 2);
  const [said, say] = useState(/** @type {any} */ ({}));
  const bad = value.trim() && jsonProblem(value);
  const badPayload = jsonProblem(payload);
  useEffect(() => {
    if (!value.trim() || bad || badPayload) return say({});
    const stop = new AbortController();
    const timer = setTimeout(() => call('POST', app.path + '/endpoint/filter/test', { body: `{"filter":${value},"payload":${payload}}`, signal: stop.signal }).then(
      (found) => say({ found }),
      (error) => stop.signal.aborted || say({ why: reasons(error).filter || error.message }),
    ), TYPED);
    return () => {
      clearTimeout(timer);
      stop.abort();
    };
  }, [value, payload]);
  return html`<${Line} rows=${5} label=${t('filter')} hint=${t('filterHint')} why=${bad || said.why || why} placeholder=${'{"plan": ["gold", {"prefix": "plat"}]}'} value=${value} set=${set} />
    ${value.trim() && html`<${Line} rows=${5} label=${t('filterTry')} why=${badPayload} value=${payload} set=${edit} />
    <div aria-live="polite">${said.found && html`<div class=${'note ' + (said.found.matches ? 'ok' : 'warn')}><div><p class="strong">${t(said.found.matches ? 'filterYes' : 'filterNo')}</p>${said.found.mismatches.map((/** @type {any} */ each) => html`<p><span class="mono">${each.path}</span> ${each.reason}</p>`)}</div></div>`}</div>`}`;
}
