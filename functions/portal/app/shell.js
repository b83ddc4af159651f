// @ts-check
/** The frame around screens: navigation, its phone form, the command palette, shortcuts. */
import { html, useEffect, useErrorBoundary, useRef, useState } from './preact.js';
import { operator, params, session } from './session.js';
import { useGet } from './data.js';
import { go, reached, useRoute } from './router.js';
import { Icon, Mark } from './icons.js';
import { Button, Dialog, Failure, Toasts } from './ui.js';
import { brand, fixedMode, isDark, toggle } from './theme.js';
import { t } from './i18n.js';

/** @typedef {[icon: string, text: string, path: string, key: string]} Entry */

/** What a customer sees of an application. @param {string} base @returns {Entry[]} */
const customer = (base) => [
  ['endpoint', 'endpoints', base + '/endpoints', 'e'],
  ['list', 'deliveries', base + '/deliveries', 'd'],
  ['book', 'catalogue', base + '/event-types', 'c'],
  ['live', 'live', base + '/live', 'l'],
  ['repair', 'recovery', base + '/recovery', 'r'],
];

/** @type {Entry[]} */
const TEAM = [
  ['apps', 'applications', '/apps', 'a'],
  ['bell', 'attention', '/attention', 'n'],
  ['book', 'eventTypes', '/types', 't'],
  ['task', 'tasks', '/tasks', 'k'],
  ['audit', 'audit', '/audit', 'u'],
  ['chart', 'usage', '/usage', 's'],
  ['inbox', 'operational', '/operational', 'w'],
  ['brush', 'theme', '/theme', 'm'],
  ['key', 'tokens', '/token', 'o'],
];

/** The application that a route is about. @param {import('./router.js').Route} route */
export function application(route) {
  if (!operator()) return { id: session.who?.appId || '', base: '', path: '/app/' + encodeURIComponent(session.who?.appId || '') };
  const id = route.parts[0] === 'app' ? route.parts[1] : '';
  return id ? { id, base: '/app/' + encodeURIComponent(id), path: '/app/' + encodeURIComponent(id) } : null;
}

/** @param {{entries: Entry[], at: string, title?: string, click?: () => void}} props */
const Nav = ({ entries, at, title, click }) => html`<nav class="nav" aria-label=${title || t('navigation')}>${title && html`<h2>${title}</h2>`}
  ${entries.map(([icon, text, path]) => html`<a href=${'#' + path} onClick=${click} aria-current=${at === path || at.startsWith(path + '/') ? 'page' : undefined}><${Icon} name=${icon} size=${17} />${t(text)}</a>`)}</nav>`;

function Brand() {
  const { name, logo } = brand();
  return html`<a class="brand" href="#/">${logo ? html`<img src=${logo} alt="" referrerpolicy="no-referrer" />` : html`<${Mark} />`}<span class="cut">${name || (operator() ? 'Postrider' : t('webhooks'))}</span></a>`;
}

/** @param {{entries: Entry[], close: () => void, base: string}} props */
function Palette({ entries, close, base }) {
  const [text, set] = useState('');
  const [at, move] = useState(0);
  const id = text.trim();
  const found = (/** @type {string} */ name) => name.toLowerCase().indexOf(id.toLowerCase());
  // What begins with the text comes first: "live" is in "deliveries" too.
  const shown = entries.map(([icon, name, path]) => ({ icon, name: t(name), path })).filter(({ name }) => found(name) >= 0).sort((a, b) => found(a.name) - found(b.name));
  if (/^app_\w+$/.test(id) && operator()) shown.unshift({ icon: 'apps', name: t('openId', { id }), path: '/app/' + id });
  if (base !== '/?' && /^ep_\w+$/.test(id)) shown.unshift({ icon: 'endpoint', name: t('openId', { id }), path: `${base}/endpoints/${id}` });
  else if (base !== '/?' && id && !/^app_/.test(id)) shown.push({ icon: 'send', name: t('openMessage', { id }), path: `${base}/messages/${encodeURIComponent(id)}` });
  const pick = (/** @type {any} */ one) => {
    close();
    if (one) go(one.path);
  };
  const key = (/** @type {KeyboardEvent} */ e) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (step) move((at + step + shown.length) % Math.max(1, shown.length));
    else if (e.key === 'Enter') pick(shown[at]);
    else return;
    e.preventDefault();
  };
  return html`<${Dialog} title=${t('palette')} close=${close} cls="pal"><div><input autofocus role="combobox" aria-expanded="true" aria-controls="pal" aria-activedescendant=${'pal-' + at} aria-label=${t('paletteHint')} placeholder=${t('paletteHint')} value=${text} onKeyDown=${key} onInput=${(/** @type {any} */ e) => { set(e.target.value); move(0); }} />
    <ul id="pal" role="listbox" aria-label=${t('palette')}>${shown.map((one, i) => html`<li id=${'pal-' + i} role="option" aria-selected=${i === at ? 'true' : 'false'} onClick=${() => pick(one)} onMouseMove=${() => move(i)}><${Icon} name=${one.icon} /><span class="cut">${one.name}</span></li>`)}</ul></div><//>`;
}

/** @param {{entries: Entry[], close: () => void}} props */
const Shortcuts = ({ entries, close }) => html`<${Dialog} title=${t('shortcuts')} close=${close}><dl class="kv">
  <dt><kbd>Ctrl K</kbd></dt><dd>${t('palette')}</dd><dt><kbd>/</kbd></dt><dd>${t('search')}</dd>
  ${entries.map(([, text, , key]) => html`<dt><kbd>g</kbd> <kbd>${key}</kbd></dt><dd>${t(text)}</dd>`)}<dt><kbd>?</kbd></dt><dd>${t('shortcuts')}</dd></dl><//>`;

/** A screen, or why it cannot be shown. @param {{View: any, name: string, props: any}} props */
function Screen({ View, name, props }) {
  const [error, reset] = useErrorBoundary((/** @type {any} */ e) => console.error(e));
  useEffect(reset, [name]);
  if (error) return html`<${Failure} error=${error} retry=${reset} />`;
  return html`<${View} key=${name} ...${props} />`;
}

/** Tells the page around this one how high it is. @param {any} ref */
function useHeight(ref) {
  useEffect(() => {
    if (parent === window) return undefined;
    const tell = () => {
      const { bottom } = ref.current.getBoundingClientRect();
      const height = Math.ceil(bottom + scrollY + (params.noGutters === 'true' ? 0 : 64));
      parent.postMessage({ type: 'svix.iframe-resizer-height', payload: { height } }, '*');
    };
    const watch = new ResizeObserver(tell);
    watch.observe(ref.current);
    return () => watch.disconnect();
  }, []);
}

/** @param {{find: (route: import('./router.js').Route) => [string, any, any], leave: () => void}} props */
export function Shell({ find, leave }) {
  const route = useRoute();
  const [open, set] = useState('');
  const [, redraw] = useState(0);
  const main = useRef(/** @type {any} */ (null));
  const wrap = useRef(/** @type {any} */ (null));
  const app = application(route);
  const about = useGet(app && operator() ? app.path : null);
  const own = app ? customer(app.base) : [];
  const team = operator() ? TEAM : [];
  const entries = [...own, ...team];
  const [name, View, props] = find(route);
  const bare = params.hideNavigation === 'true';
  useHeight(wrap);
  // The device turns dark: what leads to the other mode says so.
  useEffect(() => {
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    const turned = () => redraw((n) => n + 1);
    scheme.addEventListener('change', turned);
    return () => scheme.removeEventListener('change', turned);
  }, []);
  const first = useRef(true);
  useEffect(() => {
    if (!first.current) {
      scrollTo(0, reached());
      main.current.focus({ preventScroll: true });
    }
    first.current = false;
  }, [route.path]);
  // When `g` was pressed; outlives the listener, which is another one as soon as a dialog has closed.
  const g = useRef(0);
  useEffect(() => {
    const key = (/** @type {KeyboardEvent} */ e) => {
      if ((e.ctrlKey || e.metaKey) && e.key === 'k') {
        e.preventDefault();
        return set(open ? '' : 'palette');
      }
      const target = /** @type {HTMLElement} */ (e.target);
      if (e.ctrlKey || e.metaKey || e.altKey || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName) || document.querySelector('dialog[open]')) return undefined;
      if (e.key === '/') {
        const search = /** @type {HTMLElement | null} */ (document.querySelector('[data-search]'));
        if (search) e.preventDefault();
        search?.focus();
      } else if (e.key === '?') set('keys');
      else if (e.key === 'g') g.current = Date.now();
      else if (Date.now() - g.current < 1200) {
        const to = entries.find(([, , , letter]) => letter === e.key);
        if (to) go(to[2]);
        g.current = 0;
      }
      return undefined;
    };
    addEventListener('keydown', key);
    return () => removeEventListener('keydown', key);
  }, [open, app?.id]);
  const title = app && operator() ? about.data?.name || app.id : undefined;
  const close = () => set('');
  const foot = (/** @type {boolean} */ words) => html`${!fixedMode() && html`<${Button} kind="ghost" icon=${isDark() ? 'sun' : 'moon'} label=${words ? undefined : t(isDark() ? 'lightMode' : 'darkMode')} onClick=${() => { toggle(); redraw((n) => n + 1); }}>${words && t(isDark() ? 'lightMode' : 'darkMode')}<//>`}`;
  const navs = html`${app && html`<${Nav} entries=${own} at=${route.path} title=${title} click=${close} />`}${operator() && html`<${Nav} entries=${team} at=${route.path} title=${t('organisation')} click=${close} />`}`;
  const tabs = app ? own.slice(0, operator() ? 3 : 4) : team.slice(0, 4);
  return html`<a class="skip" href="#main" onClick=${(/** @type {Event} */ e) => { e.preventDefault(); main.current.focus(); }}>${t('skip')}</a>
    <div class=${'app ' + (bare ? 'bare' : '')}>
      ${!bare && html`<aside class="side" aria-label=${t('navigation')}><${Brand} />
        <button type="button" class="find" onClick=${() => set('palette')}><${Icon} name="search" size=${14} />${t('goTo')}<kbd>Ctrl K</kbd></button>${navs}
        <div class="foot">${foot(true)}<${Button} kind="ghost" icon="out" onClick=${leave}>${t('logOut')}<//></div></aside>
      <header class="bar"><${Brand} />${foot(false)}<${Button} kind="ghost" icon="search" label=${t('goTo')} onClick=${() => set('palette')} /></header>`}
      <main class="main" id="main" ref=${main} tabindex="-1"><div class="wrap" ref=${wrap}><${Screen} name=${name} View=${View} props=${{ ...props, route, app }} /></div></main>
    </div>
    ${!bare && html`<nav class="tabs-bottom" aria-label=${t('tabs')}>${tabs.map(([icon, text, path]) => html`<a href=${'#' + path} aria-current=${route.path === path || route.path.startsWith(path + '/') ? 'page' : undefined}><${Icon} name=${icon} size=${20} /><span>${t(text)}</span></a>`)}<button type="button" onClick=${() => set('menu')}><${Icon} name="dots" size=${20} /><span>${t('menu')}</span></button></nav>`}
    ${open === 'palette' && html`<${Palette} entries=${entries} base=${app ? app.base : '/?'} close=${close} />`}
    ${open === 'keys' && html`<${Shortcuts} entries=${entries} close=${close} />`}
    ${open === 'menu' && html`<${Dialog} title=${t('menu')} close=${close} cls="drawer">${navs}<div class="row">${foot(true)}<${Button} kind="ghost" icon="out" onClick=${leave}>${t('logOut')}<//></div><//>`}
    <${Toasts} />`;
}
