// @ts-check
/** The start: the session, the language, the look, and which screen a route shows. */
import { begin, broken, forget, fresh, oneTime, operator, params, session } from './session.js';
import { html, render } from './preact.js';
import { ahead, call, events } from './api.js';
import { load, t } from './i18n.js';
import { apply } from './theme.js';
import { application, Shell } from './shell.js';
import { Ended, SignIn, Trouble } from './entry.js';
import { parse } from './router.js';
import Endpoints, { FIRST } from './endpoints.js';
import EndpointNew from './endpoint-new.js';
import Endpoint from './endpoint.js';
import Deliveries from './deliveries.js';
import Message from './message.js';
import Catalogue from './catalogue.js';
import Live from './live.js';
import Recovery from './recovery.js';
import Apps from './apps.js';
import Types from './types.js';
import Attention from './attention.js';
import Tasks from './tasks.js';
import Audit from './audit.js';
import Usage from './usage.js';
import Operational from './operational.js';
import Look from './look.js';
import Token from './token.js';
import Missing from './missing.js';

const root = /** @type {HTMLElement} */ (document.getElementById('root'));
const show = (/** @type {any} */ view) => render(view, root);

/** @type {Record<string, any>} */
const SCREENS = { endpoints: Endpoints, endpointNew: EndpointNew, endpoint: Endpoint, deliveries: Deliveries, message: Message, catalogue: Catalogue, live: Live, recovery: Recovery, apps: Apps, types: Types, attention: Attention, tasks: Tasks, audit: Audit, usage: Usage, operational: Operational, look: Look, token: Token, missing: Missing };

/** @type {Record<string, string>} */
const OPERATOR = { apps: 'apps', types: 'types', attention: 'attention', tasks: 'tasks', audit: 'audit', usage: 'usage', operational: 'operational', theme: 'look', token: 'token' };
/** Names that links to other portals of this API use for the same. @type {Record<string, string>} */
const SAME = { logs: 'deliveries', activity: 'deliveries', messages: 'deliveries', 'event-catalog': 'event-types', 'getting-started': 'endpoints' };

/** @param {import('./router.js').Route} route @returns {[string, any, any]} */
function find(route) {
  const screen = (/** @type {string} */ name, props = {}) => /** @type {[string, any, any]} */ ([name, SCREENS[name], props]);
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
  show(html`<${SignIn} broken=${broken} use=${(/** @type {string} */ token) => { begin(token); return start(true); }} />`);
}

/** Asks for what the first screen is going to ask for, while nobody knows yet whose the token is. */
function askAhead() {
  const { parts: [first = 'endpoints', id, tab], query } = parse();
  if (!session.appId || first !== 'endpoints' || Object.keys(query).length) return;
  const path = '/app/' + encodeURIComponent(session.appId);
  const one = `${path}/endpoint/${encodeURIComponent(id)}`;
  if (id === 'new') return;
  if (!id) ahead(path + '/endpoint', { limit: FIRST });
  else ahead(one);
  if (tab === 'deliveries') ahead(one + '/msg', { with_content: false, limit: 50 });
  // Rows are there without it.
  ahead(path + '/failing-endpoint', { limit: 250 });
}

/** @param {boolean} [typed] whether somebody entered the token, who hears of it where it is refused */
async function start(typed) {
  try {
    const once = oneTime();
    if (once) begin((await call('POST', '/auth/one-time-token', { body: { oneTimeToken: once } })).token);
    if (!session.token) {
      await spoken;
      return signIn();
    }
    const asked = Promise.all([call('GET', '/auth/whoami'), call('GET', '/environment/settings').catch(() => ({})), spoken]);
    askAhead();
    const [who, theme] = await asked;
    session.who = who;
    apply(theme || {});
  } catch (error) {
    await spoken;
    const gone = /** @type {any} */ (error).status === 401 || /** @type {any} */ (error).status === 403;
    if (gone && typed) {
      forget();
      throw error;
    }
    return gone ? ended() : show(html`<${Trouble} error=${error} retry=${() => start()} />`);
  }
  document.title = t('webhooks');
  return show(html`<${Shell} find=${find} leave=${leave} />`);
}

events.ended = ended;
// A link that is opened in a page that is open already.
addEventListener('hashchange', () => location.hash.startsWith('#key=') && location.reload());
apply();
const spoken = load(params.lang);
if (fresh && !location.hash) history.replaceState(history.state, '', '#/');
start();
