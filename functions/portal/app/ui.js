// @ts-check
/** Parts that screens share: buttons, states, dialogs, toasts, errors. */
import { html, useEffect, useRef, useState } from './preact.js';
import { Icon } from './icons.js';
import { clock, date, has, moment, relative, t, zone } from './i18n.js';

/** @param {any} props */
export function Button({ icon, label, kind = '', busy, small, children, ...rest }) {
  const cls = `btn ${kind} ${small ? 'sm' : ''} ${children || !icon ? '' : 'icon'}`;
  return html`<button type="button" class=${cls} aria-label=${label} title=${label} disabled=${busy || rest.disabled} aria-busy=${busy ? 'true' : undefined} ...${rest}>
    ${busy ? html`<${Icon} name="refresh" spin />` : icon && html`<${Icon} name=${icon} />`}${children}</button>`;
}

/** A link that looks like a button. @param {any} props */
export const LinkButton = ({ icon, kind = '', small, children, ...rest }) => html`<a class=${`btn ${kind} ${small ? 'sm' : ''}`} ...${rest}>${icon && html`<${Icon} name=${icon} />`}${children}</a>`;

/** State in words, with an icon: never by colour alone. @param {{kind?: string, icon: string, children?: any, title?: string}} props */
export const Pill = ({ kind = '', icon, children, title }) => html`<span class=${'pill ' + kind} title=${title}><${Icon} name=${icon} size=${13} /><span class="cut">${children}</span></span>`;

/** @type {Record<string, [string, string]>} */
const STATES = { success: ['ok', 'check'], fail: ['bad', 'x'], sending: ['info', 'send'], canceled: ['', 'off'], running: ['info', 'refresh'], finished: ['ok', 'check'], failed: ['bad', 'x'] };

/** @param {{state: string}} props */
export const Status = ({ state }) => html`<${Pill} kind=${STATES[state]?.[0]} icon=${STATES[state]?.[1] || 'info'}>${t('st_' + state)}<//>`;

/** @param {string} state */
export const look = (state) => STATES[state] || ['', 'info'];

/** A response's code, and in words where there was none. @param {{code: number | null | undefined}} props */
export const Code = ({ code }) => code ? html`<span class=${'mono ' + (code < 300 ? 'ok-t' : 'bad-t')}>${code}</span>` : html`<span class="dim">${t('noAnswer')}</span>`;

/** @param {{at: any, now?: number}} props */
export const Time = ({ at, now }) => at ? html`<time datetime=${new Date(at).toISOString()} title=${date(at)} class="nowrap">${relative(at, now)}</time>` : html`<span class="dim">–</span>`;

/** Whether messages are sent there: others are polled. @param {any} endpoint */
export const isSentTo = (endpoint) => endpoint.destination?.kind !== 'polling';

/** What an endpoint is called in a line of text. @param {any} endpoint */
export const called = (endpoint) => endpoint.description || endpoint.url || t('kind_polling');

/** An address: the host strong, the path dim. One that is polled has none. @param {{url: string}} props */
export function Url({ url }) {
  let parts;
  try {
    parts = new URL(url);
  } catch {
    return html`<span class="cut">${url || t('kind_polling')}</span>`;
  }
  // A place in AWS: its ARN has no host.
  if (!parts.host) return html`<span class="cut">${url}</span>`;
  return html`<span class="cut" title=${url} dir="ltr"><span class="dim">${parts.protocol === 'http:' ? 'http://' : ''}</span><span class="strong">${parts.host}</span><span class="dim">${parts.pathname === '/' ? '' : parts.pathname}${parts.search}</span></span>`;
}

/** @param {{crumbs?: any[], title: any, sub?: any, children?: any}} props */
export function Head({ crumbs, title, sub, children }) {
  return html`${crumbs && html`<nav aria-label=${t('crumbs')}><ol class="crumbs">${crumbs.map(([text, to]) => html`<li>${to ? html`<a href=${to}>${text}</a><${Icon} name="chevron" size=${13} />` : html`<span>${text}</span>`}</li>`)}</ol></nav>`}
    <header class="head"><div><h1 tabindex="-1">${title}</h1>${sub && html`<p>${sub}</p>`}</div>${children && html`<div class="row">${children}</div>`}</header>`;
}

/** @param {{icon: string, title: any, children?: any, actions?: any}} props */
export const Empty = ({ icon, title, children, actions }) => html`<div class="empty"><span><${Icon} name=${icon} size=${22} /></span><h2>${title}</h2>${children && html`<p>${children}</p>`}${actions && html`<div class="row">${actions}</div>`}</div>`;

/** @param {{rows?: number}} props */
export const Skeleton = ({ rows = 5 }) => html`<div class="pad col" role="status" aria-label=${t('loading')}>${Array.from({ length: rows }, (_, i) => html`<svg class="sk" key=${i} width=${`${92 - ((i * 17) % 40)}%`} aria-hidden="true" />`)}</div>`;

/** Why something failed, in words that say what to do. @param {any} error */
export function reason(error) {
  const status = error?.status;
  const detail = error?.message || String(error);
  if (status === 0) return [t('e_down'), t('e_downDo')];
  if (status === 429) return [t('e_429'), error.after ? t('e_429after', { n: error.after }) : t('e_429do')];
  const known = 'e_' + status;
  return status && has(known) ? [t(known), detail] : [status >= 500 ? t('e_5xx') : t('e_other'), detail];
}

/** @param {{error: any, retry?: () => void}} props */
export function Failure({ error, retry }) {
  const [title, text] = reason(error);
  return html`<div class=${'note ' + ([404, 501, 403].includes(error.status) ? 'warn' : 'bad')} role="alert"><${Icon} name="alert" /><div class="grow"><div class="strong">${title}</div><div>${text}</div></div>${retry && html`<${Button} icon="refresh" small onClick=${retry}>${t('retry')}<//>`}</div>`;
}

/** @type {Set<(list: any[]) => void>} */
const listeners = new Set();
/** @type {{id: number, kind: string, text: string}[]} */
let toasts = [];
let count = 0;

/** @param {string} text @param {'ok' | 'bad'} [kind] */
export function toast(text, kind = 'ok') {
  const id = ++count;
  const set = (/** @type {typeof toasts} */ list) => {
    toasts = list;
    listeners.forEach((each) => each(list));
  };
  set([...toasts.slice(-3), { id, kind, text }]);
  setTimeout(() => set(toasts.filter((each) => each.id !== id)), kind === 'bad' ? 9000 : 4500);
}

/** Says why a change failed. @param {any} error */
export const complain = (error) => toast(reason(error).filter(Boolean).join(': '), 'bad');

export function Toasts() {
  const [list, set] = useState(toasts);
  useEffect(() => {
    listeners.add(set);
    return () => void listeners.delete(set);
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">${list.map((each) => html`<div class="toast" key=${each.id}><span class=${each.kind + '-t'}><${Icon} name=${each.kind === 'ok' ? 'check' : 'alert'} /></span><span>${each.text}</span></div>`)}</div>`;
}

/** A change that a button starts: busy while it runs, a toast at its end. @param {(...args: any[]) => Promise<any>} work @param {string} [said] */
export function useWork(work, said) {
  const [busy, set] = useState(false);
  // A second click comes before the button is drawn as disabled.
  const on = useRef(false);
  const run = async (/** @type {any[]} */ ...args) => {
    if (on.current) return undefined;
    on.current = true;
    set(true);
    try {
      const result = await work(...args);
      if (said) toast(said);
      return result;
    } catch (error) {
      complain(error);
      return undefined;
    } finally {
      on.current = false;
      set(false);
    }
  };
  return /** @type {[boolean, typeof run]} */ ([busy, run]);
}

/** A change of several items: what fails keeps none of the others from it. Gives those that failed. @param {(item: any) => Promise<any>} work @param {string} [said] */
export const useEach = (work, said) => useWork(async (/** @type {any[]} */ items) => {
  const failed = [];
  let why;
  for (const item of items) {
    try {
      await work(item);
    } catch (error) {
      why ||= error;
      failed.push(item);
    }
  }
  if (why) toast(t('someFailed', { n: items.length - failed.length, failed: failed.length, why: reason(why).filter(Boolean).at(-1) }), 'bad');
  else if (said) toast(said);
  return failed;
});

/** A dialog: focus goes in, Escape closes, focus comes back; a click beside it closes it while nothing was entered. @param {{title: any, close: () => void, wide?: boolean, foot?: any, cls?: string, children?: any, submit?: () => void}} props */
export function Dialog({ title, close, wide, foot, cls = '', children, submit }) {
  const ref = useRef(/** @type {any} */ (null));
  const entered = useRef(false);
  useEffect(() => {
    const before = /** @type {HTMLElement} */ (document.activeElement);
    const dialog = ref.current;
    dialog.showModal();
    return () => {
      dialog.close();
      before?.focus?.();
    };
  }, []);
  const body = html`<div class="dlg-h"><h2>${title}</h2><${Button} kind="ghost" icon="x" small label=${t('close')} onClick=${close} /></div><div class="dlg-b">${children}</div>${foot && html`<div class="dlg-f">${foot}</div>`}`;
  return html`<dialog ref=${ref} class=${`${wide ? 'wide' : ''} ${cls}`} aria-label=${typeof title === 'string' ? title : undefined}
    onCancel=${(/** @type {Event} */ e) => { e.preventDefault(); close(); }} onMouseDown=${(/** @type {any} */ e) => e.target === ref.current && !entered.current && close()} onInput=${() => (entered.current = !!submit)}>
    ${submit ? html`<form onSubmit=${(/** @type {Event} */ e) => { e.preventDefault(); submit(); }}>${body}</form>` : body}</dialog>`;
}

/** Asks before something that cannot be taken back. @param {{title: string, text: any, yes: string, danger?: boolean, act: () => Promise<any>, close: () => void}} props */
export function Confirm({ title, text, yes, danger, act, close }) {
  const [busy, run] = useWork(act);
  return html`<${Dialog} title=${title} close=${close} foot=${html`<${Button} onClick=${close}>${t('cancel')}<//><${Button} kind=${danger ? 'danger primary' : 'primary'} busy=${busy} onClick=${() => run().then(close)}>${yes}<//>`}><p>${text}</p><//>`;
}

let ids = 0;
/** @param {{label: any, hint?: any, why?: any, children: (props: any) => any}} props */
export function Field({ label, hint, why, children }) {
  const [id] = useState(() => 'f-' + ++ids);
  const by = [hint && id + '-h', why && id + '-w'].filter(Boolean).join(' ') || undefined;
  return html`<div class="field"><label for=${id}>${label}</label>${children({ id, 'aria-describedby': by, 'aria-invalid': why ? 'true' : undefined })}
    ${why && html`<div class="why" id=${id + '-w'}><${Icon} name="alert" size=${14} />${why}</div>`}${hint && html`<small id=${id + '-h'}>${hint}</small>`}</div>`;
}

/** A field that is typed into, of one line or of `rows`. @param {{label: any, hint?: any, why?: any, value: any, set: (value: string) => void, cls?: string, rows?: number, [attribute: string]: any}} props */
export const Line = ({ label, hint, why, set, cls = '', ...rest }) => html`<${Field} label=${label} hint=${hint} why=${why}>${(/** @type {any} */ p) => {
  const props = { ...p, ...rest, onInput: (/** @type {any} */ e) => set(e.target.value) };
  return rest.rows ? html`<textarea spellcheck=${false} dir="ltr" ...${props}></textarea>` : html`<input class=${'in ' + cls} ...${props} />`;
}}<//>`;

/** A field that is chosen. @param {{label: string, hint?: any, why?: any, value: string, options: [string, any][], set: (value: string) => void}} props */
export const Choice = ({ hint, why, ...rest }) => html`<${Field} label=${rest.label} hint=${hint} why=${why}>${(/** @type {any} */ p) => html`<${Select} ...${rest} ...${p} />`}<//>`;

/** @param {{label: string, value: string, options: [string, any][], set: (value: string) => void}} props */
export const Segments = ({ label, value, options, set }) => html`<div class="seg" role="group" aria-label=${label}>${options.map(([key, text]) => html`<button type="button" aria-pressed=${key === value ? 'true' : 'false'} onClick=${() => set(key)}>${text}</button>`)}</div>`;

/** @param {{label: string, value: string, options: [string, any][], set: (value: string) => void}} props */
export const Select = ({ label, value, options, set, ...rest }) => html`<select aria-label=${label} value=${value} onChange=${(/** @type {any} */ e) => set(e.target.value)} ...${rest}>${options.map(([key, text]) => html`<option value=${key} selected=${key === value}>${text}</option>`)}</select>`;

/** A span of time between two moments, in the zone that is shown and named. @param {{from: string, to: string, set: (part: {from?: string, to?: string}) => void}} props */
export const Range = ({ set, ...rest }) => html`${Object.entries(rest).map(([name, at]) => html`<label class="row tight small">${t(name)}<input class="in" type="datetime-local" value=${clock(at)} onChange=${(/** @type {any} */ e) => set({ [name]: moment(e.target.value) })} /></label>`)}<span class="dim small">${zone.utc ? 'UTC' : t('localTime')}</span>`;

/** A text that applies with Enter or when it is left; what is typed stays, whatever loads meanwhile. @param {{label: string, value: string, set: (value: string) => void, size?: number, cls?: string}} props */
export function Text({ label, value, set, size = 14, cls = '' }) {
  const [typed, type] = useState(value);
  useEffect(() => type(value), [value]);
  return html`<input class=${'in ' + cls} size=${size} aria-label=${label} placeholder=${label} value=${typed} spellcheck=${false} onInput=${(/** @type {any} */ e) => type(e.target.value)} onChange=${(/** @type {any} */ e) => set(e.target.value.trim())} />`;
}

/** @param {{label: string, value: string, set: (value: string) => void}} props */
export const Search = ({ label, value, set }) => html`<div class="search" role="search"><${Icon} name="search" /><input class="in" type="search" data-search aria-label=${label} placeholder=${label} value=${value} onInput=${(/** @type {any} */ e) => set(e.target.value)} /></div>`;

/** @param {{items: [string, string, string][], now: string}} props */
export function Tabs({ items, now }) {
  const ref = useRef(/** @type {any} */ (null));
  // Where there is no room for all of them, the one that is open is in view.
  useEffect(() => {
    const at = ref.current.querySelector('[aria-current]');
    if (at) ref.current.scrollLeft = at.offsetLeft - ref.current.offsetLeft - 40;
  }, [now]);
  return html`<nav class="tabs" ref=${ref} aria-label=${t('sections')}>${items.map(([key, text, to]) => html`<a href=${to} aria-current=${key === now ? 'page' : undefined}>${text}</a>`)}</nav>`;
}

/** The way to a list's next page. @param {{list: any}} props */
export function More({ list }) {
  const ref = useRef(/** @type {any} */ (null));
  const now = useRef(list);
  now.current = list;
  // Scrolling asks for the next page by itself; filtered to nothing, one asks by the button.
  useEffect(() => {
    if (!ref.current || list.done || list.busy || list.error || !list.items.length) return undefined;
    const watch = new IntersectionObserver((entries) => entries.at(-1)?.isIntersecting && scrollY > 0 && now.current.more(), { rootMargin: '200px' });
    watch.observe(ref.current);
    return () => watch.disconnect();
  }, [list.items.length, list.busy, list.done, list.error]);
  if (list.error && list.items.length) return html`<div class="pad"><${Failure} error=${list.error} retry=${list.more} /></div>`;
  return !list.done && html`<div class="pad row" ref=${ref}><${Button} busy=${list.busy} onClick=${list.more}>${t('more')}<//></div>`;
}

/** A list's states: skeleton, reason, nothing there. @param {{list: any, empty: any, children: any}} props */
export function Listed({ list, empty, children }) {
  if (list.error && !list.items.length) return html`<div class="pad"><${Failure} error=${list.error} retry=${list.reload} /></div>`;
  if (list.loading) return html`<${Skeleton} />`;
  return html`<div aria-busy=${list.old ? 'true' : undefined}>${list.items.length ? children : empty}</div><${More} list=${list} />`;
}
