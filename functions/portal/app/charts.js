// @ts-check
/** Charts as our own SVG. Each says in words what it shows. */
import { html, useEffect, useRef, useState } from './preact.js';
import { date, num, percent, t } from './i18n.js';

/** @typedef {{at: string, success: number, fail: number, pending?: number, sending?: number}} Point */

/** @param {Point[]} points */
export function totals(points) {
  const sum = { success: 0, fail: 0, pending: 0 };
  for (const point of points) {
    sum.success += point.success;
    sum.fail += point.fail;
    sum.pending += (point.pending || 0) + (point.sending || 0);
  }
  return sum;
}

/** @param {{success: number, fail: number}} sum */
export const rate = (sum) => (sum.success + sum.fail ? percent(sum.success / (sum.success + sum.fail)) : '–');

/** @param {{success: number, fail: number, pending: number}} sum */
export const words = (sum) => t('chartSum', { success: num(sum.success), fail: num(sum.fail), pending: num(sum.pending) });

/** Small bars without axes. @param {{points: Point[]}} props */
export function Spark({ points }) {
  const most = Math.max(1, ...points.map((p) => p.success + p.fail + (p.pending || 0)));
  const wide = 120 / Math.max(1, points.length);
  return html`<svg class="spark" viewBox="0 0 120 30" preserveAspectRatio="none" role="img" aria-label=${words(totals(points))}>
    ${points.map((p, i) => {
      const high = (/** @type {number} */ n) => (n ? Math.max(2, (n / most) * 29) : 0);
      const [ok, bad] = [high(p.success), high(p.fail)];
      const x = i * wide + 0.6;
      const w = Math.max(0.5, wide - 1.2);
      return ok + bad ? html`<rect class="f-bad" x=${x} y=${30 - Math.min(30, ok + bad)} width=${w} height=${bad} rx="1" /><rect class="f-ok" x=${x} y=${30 - ok} width=${w} height=${ok} rx="1" />`
        : html`<rect class="f-off" x=${x} y="28.5" width=${w} height="1.5" rx=".7" />`;
    })}</svg>`;
}

/** Stacked bars with a scale: success, failed, pending. @param {{points: Point[], hourly: boolean}} props */
export function Stacked({ points, hourly }) {
  const ref = useRef(/** @type {any} */ (null));
  const [W, fit] = useState(720);
  useEffect(() => {
    const watch = new ResizeObserver(([entry]) => fit(Math.round(entry.contentRect.width) || 720));
    watch.observe(ref.current);
    return () => watch.disconnect();
  }, []);
  const H = 180;
  const left = 34;
  const floor = 156;
  const top = 8;
  const peak = Math.max(1, ...points.map((p) => p.success + p.fail + (p.pending || 0) + (p.sending || 0)));
  const step = nice(peak / 3);
  const most = Math.ceil(peak / step) * step;
  const wide = (W - left) / Math.max(1, points.length);
  const y = (/** @type {number} */ n) => ((floor - top) * n) / most;
  const each = Math.ceil(points.length / Math.max(2, Math.floor(W / 110)));
  const lines = [];
  for (let at = 0; at <= most; at += step) lines.push(at);
  const label = (/** @type {string} */ at) => date(at, hourly ? { hour: '2-digit', minute: '2-digit' } : { month: 'short', day: 'numeric' });
  return html`<svg ref=${ref} class="chart" viewBox=${`0 0 ${W} ${H}`} role="img" aria-label=${words(totals(points))}>
    ${lines.map((at) => html`<line class="grid" x1=${left} x2=${W} y1=${floor - y(at)} y2=${floor - y(at)} /><text x=${left - 7} y=${floor - y(at) + 4} text-anchor="end">${num(at, { notation: 'compact' })}</text>`)}
    ${points.map((p, i) => {
      const pending = (p.pending || 0) + (p.sending || 0);
      const x = left + i * wide + wide * 0.14;
      const w = wide * 0.72;
      const r = Math.min(2, w / 4);
      const a = y(p.success);
      const b = y(p.fail);
      const c = y(pending);
      return html`<g>${a > 0 && html`<rect class="f-ok" x=${x} y=${floor - a} width=${w} height=${a} rx=${r} />`}${b > 0 && html`<rect class="f-bad" x=${x} y=${floor - a - b} width=${w} height=${b} rx=${r} />`}${c > 0 && html`<rect class="f-warn" x=${x} y=${floor - a - b - c} width=${w} height=${c} rx=${r} />`}
        ${i % each === 0 && html`<text x=${x + w / 2} y=${H - 6} text-anchor=${i === 0 ? 'start' : 'middle'}>${label(p.at)}</text>`}
        <rect class="hit f-none" x=${left + i * wide} y=${top} width=${wide} height=${floor - top}><title>${`${date(p.at, { dateStyle: 'medium', timeStyle: hourly ? 'short' : undefined })}: ${words({ success: p.success, fail: p.fail, pending })}`}</title></rect></g>`;
    })}</svg>
    <div class="row"><span class="key"><i class="ok"></i>${t('st_success')}</span><span class="key"><i class="bad"></i>${t('st_fail')}</span><span class="key"><i class="warn"></i>${t('st_sending')}</span></div>`;
}

/** @param {number} raw */
function nice(raw) {
  const power = 10 ** Math.floor(Math.log10(Math.max(1, raw)));
  return Math.max(1, ([1, 2, 5, 10].find((n) => n * power >= raw) || 10) * power);
}

/** The middle, or another share, of sorted numbers. @param {number[]} numbers @param {number} share */
export function quantile(numbers, share) {
  const sorted = [...numbers].sort((a, b) => a - b);
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] : null;
}
