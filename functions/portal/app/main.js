// @ts-check
/** The start: the session, the language, the look, and which screen a route shows. */
import { begin, broken, forget, fresh, oneTime, operator, params, session } from './session.js';
import { html, render } from './preact.js';
import { call, events } from './api.js';
import { load, t } from './i18n.js';
import { apply } from './theme.js';
import { application, Shell } from './shell.js';
import { Ended, SignIn, Trouble } from './entry.js';

const root = /** @type {HTMLElement} */ (document.getElementById('root'));
const show = (/** @type {any} */ view) => render(view, root);

/** @type {Record<string, () => Promise<any>>} */
const SCREENS = {
  endpoints: () => import('./endpoints.js'),
  endpointNew: () => import('./endpoint-new.js'),
  endpoint: () => import('./endpoint.js'),
  deliveries: () => import('./deliveries.js'),
  message: () => import('./message.js'),
  catalogue: () => import('./catalogue.js'),
  live: () => import('./live.js'),
  recovery: () => import('./recovery.js'),
  apps: () => import('./apps.js'),
  types: () => import('./types.js'),
  attention: () => import('./attention.js'),
  tasks: () => import('./tasks.js'),
  audit: () => import('./audit.js'),
  usage: () => import('./usage.js'),
  operational: () => import('./operational.js'),
  look: () => import('./look.js'),
  token: () => import('./token.js'),
  missing: () => import('./missing.js'),
};

/** @type {Record<string, string>} */
const OPERATOR = { apps: 'apps', types: 'types', attention: 'attention', tasks: 'tasks', audit: 'audit', usage: 'usage', operational: 'operational', theme: 'look', token: 'token' };
/** Names that links to other portals of this API use for the same. @type {Record<string, string>} */
const SAME = { logs: 'deliveries', activity: 'deliveries', messages: 'deliveries', 'event-catalog': 'event-types', 'getting-started': 'endpoints' };

/** @param {import('./router.js').Route} route @returns {[string, () => Promise<any>, any]} */
function find(route) {
  const screen = (/** @type {string} */ name, props = {}) => /** @type {[string, () => Promise<any>, any]} */ ([name, SCREENS[name], props]);
  const app = application(route);
  const parts = operator() && app ? route.parts.slice(2) : route.parts;
  if (!app) {
    const name = OPERATOR[parts[0] || 'apps'];
    return name ? screen(name, { id: parts[1] }) : screen('missing');
  }
  const [first = 'endpoints', id, tab] = parts;
  if (first === 'endpoints') return !id ? screen('endpoints') : id === 'new' ? screen('endpointNew') : screen('endpoint', { id, tab });
  if (first === 'messages' && id) return screen('message', { id });
  switch (SAME[first] || first) {
    case 'deliveries': return screen('deliveries');
    case 'event-types': return screen('catalogue', { id });
    case 'live': return screen('live');
    case 'recovery': return screen('recovery');
    default: return screen('missing');
  }
}

function ended() {
  const app = session.who?.appId || session.appId;
  forget();
  const meta = /** @type {HTMLMetaElement | null} */ (document.querySelector('meta[name=postrider-refresh-url]'));
  if (meta?.content) {
    const url = new URL(meta.content, location.href);
    if (app) url.searchParams.set('app', app);
    location.replace(url);
  }
  show(html`<${Ended} signIn=${signIn} />`);
}

async function leave() {
  await call('POST', '/auth/logout').catch(() => {});
  ended();
}

function signIn() {
  show(html`<${SignIn} broken=${broken} use=${(/** @type {string} */ token) => { begin(token); start(); }} />`);
}

async function start() {
  try {
    const once = oneTime();
    if (once) begin((await call('POST', '/auth/one-time-token', { body: { oneTimeToken: once } })).token);
    if (!session.token) return signIn();
    const [who, theme] = await Promise.all([call('GET', '/auth/whoami'), call('GET', '/environment/settings').catch(() => ({}))]);
    session.who = who;
    apply(theme || {});
  } catch (error) {
    const gone = /** @type {any} */ (error).status === 401 || /** @type {any} */ (error).status === 403;
    return gone ? ended() : show(html`<${Trouble} error=${error} retry=${start} />`);
  }
  document.title = t('webhooks');
  return show(html`<${Shell} find=${find} leave=${leave} />`);
}

events.ended = ended;
// A link that is opened in a page that is open already.
addEventListener('hashchange', () => location.hash.startsWith('#key=') && location.reload());
apply();
await load(params.lang);
if (fresh && !location.hash) history.replaceState(null, '', '#/');
start();
