// @ts-check
/** Deliveries by application and month, and about what they cost. */
import { html, useEffect, useState } from './preact.js';
import { useGet, usePages, useSeen } from './data.js';
import { filter, href } from './router.js';
import { Empty, Head, Line, Listed, Segments } from './ui.js';
import { date, num, percent, t } from './i18n.js';

const DAY = 864e5;
/** US dollars a million deliveries: about what AWS charges by its list prices (docs/COST.md). */
const RATE = '9';

/** The first moment of a month, so many months ago. @param {number} ago */
const month = (ago) => {
  const now = new Date();
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - ago);
};

/** @param {{app: any, from: number, to: number, rate: number, found: (id: string, n: number[]) => void}} props */
function UsageRow({ app, from, to, rate, found }) {
  const [ref, seen] = useSeen();
  const path = seen ? `/app/${app.id}/stats/series` : null;
  // One request spans 28 days at most.
  const middle = Math.min(to, from + 14 * DAY);
  const ask = (/** @type {number} */ since, /** @type {number} */ until) => useGet(since < until ? path : null, { bucket: 'day', since: new Date(since).toISOString(), until: new Date(until).toISOString() });
  const parts = [ask(from, middle), ask(middle, to)];
  const ready = seen && parts.every((part) => !part.loading);
  const points = parts.flatMap((part) => part.data?.points || []);
  const sum = (/** @type {string} */ name) => points.reduce((total, point) => total + point[name], 0);
  const [ok, fail] = [sum('success'), sum('fail')];
  const all = ok + fail + sum('pending') + sum('sending');
  useEffect(() => {
    if (ready) found(app.id, [ok, fail, all]);
  }, [ready, ok, fail, all]);
  const failed = parts.find((part) => part.error);
  const cell = (/** @type {any} */ value) => (failed ? '–' : ready ? value : html`<svg class="sk" width="40" />`);
  return html`<tr ref=${ref}><td><a class="plain strong cut" href=${href(`/app/${app.id}/deliveries`)} dir="auto">${app.name}</a><div class="small dim mono cut">${failed ? failed.error.message : app.uid || app.id}</div></td>
    <td class="num">${cell(num(all))}</td><td class="num hide-s">${cell(num(fail))}</td><td class="num hide-s">${cell(ok + fail ? percent(ok / (ok + fail)) : '–')}</td><td class="num">${cell(dollars(all, rate))}</td></tr>`;
}

/** @param {number} deliveries @param {number} rate */
const dollars = (deliveries, rate) => num((deliveries / 1e6) * rate, { style: 'currency', currency: 'USD', maximumFractionDigits: 2 });

/** @param {{route: import('./router.js').Route}} props */
export default function Usage({ route }) {
  const ago = Number(/^[012]$/.test(route.query.ago) ? route.query.ago : 0);
  const list = usePages('/app', {}, 25);
  const [rate, set] = useState(RATE);
  const [sums, add] = useState(/** @type {Record<string, number[]>} */ ({}));
  const [from, to] = [month(ago), ago ? month(ago - 1) : Date.now() - (Date.now() % 36e5)];
  useEffect(() => add({}), [ago]);
  const total = (/** @type {number} */ at) => Object.values(sums).reduce((sum, each) => sum + each[at], 0);
  const name = (/** @type {number} */ n) => date(month(n) + 12 * 36e5, { month: 'long', year: 'numeric', timeZone: 'UTC' });
  return html`<${Head} title=${t('usage')} sub=${t('usageSub')} />
    <div class="row spread"><${Segments} label=${t('period')} value=${String(ago)} set=${(/** @type {string} */ v) => filter({ ago: v === '0' ? '' : v })} options=${[0, 1, 2].map((n) => [String(n), name(n)])} /><${Line} label=${t('usageRate')} hint=${t('usageHint')} type="number" min="0" step="0.01" value=${rate} set=${set} /></div>
    <div class="card"><${Listed} list=${list} empty=${html`<${Empty} icon="apps" title=${t('noMatch')} />`}><div class="tablebox"><table class="fixed"><colgroup><col /><col width="120" /><col class="hide-s" width="110" /><col class="hide-s" width="110" /><col width="110" /></colgroup><thead><tr><th>${t('application')}</th><th>${t('deliveries')}</th><th class="hide-s">${t('st_fail')}</th><th class="hide-s">${t('successRate')}</th><th>${t('cost')}</th></tr></thead>
      <tbody>${list.items.map((app) => html`<${UsageRow} key=${app.id + ago} app=${app} from=${from} to=${to} rate=${Number(rate)} found=${(/** @type {string} */ id, /** @type {number[]} */ n) => add((old) => ({ ...old, [id]: n }))} />`)}</tbody>
      <tfoot><tr><th>${t('nApps', { n: Object.keys(sums).length })}</th><td class="num strong">${num(total(2))}</td><td class="num hide-s">${num(total(1))}</td><td class="num hide-s">${total(0) + total(1) ? percent(total(0) / (total(0) + total(1))) : '–'}</td><td class="num strong">${dollars(total(2), Number(rate))}</td></tr></tfoot></table></div><//></div>`;
}
