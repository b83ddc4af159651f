// @ts-check
/**
 * What the link carries. This module is evaluated before any other: the token leaves the address
 * bar before anything else runs. The token is in memory and in sessionStorage, nowhere else.
 *
 * @typedef {{token?: string, oneTimeToken?: string, appId?: string, serverUrl?: string}} Link
 * @typedef {{envId?: string, appId?: string, sessionId?: string, capabilities: string[], expiresAt?: string, destinationRoles?: string, deliverRole?: string}} Who
 */

const STORED = 'postrider.portal';

/** The query's parameters; of a repeated name the last counts. @type {Record<string, string>} */
export const params = Object.fromEntries(new URLSearchParams(location.search));

/** @param {string} text @returns {Link} */
function decode(text) {
  const plain = atob(text.replace(/-/g, '+').replace(/_/g, '/').replace(/=+$/, ''));
  const value = JSON.parse(new TextDecoder().decode(Uint8Array.from(plain, (c) => c.charCodeAt(0))));
  return value && typeof value === 'object' ? value : {};
}

/** @returns {Link | null} */
function stored() {
  try {
    return JSON.parse(sessionStorage.getItem(STORED) || 'null');
  } catch {
    return null;
  }
}

/** @param {Link | null} link */
function store(link) {
  try {
    if (link) sessionStorage.setItem(STORED, JSON.stringify(link));
    else sessionStorage.removeItem(STORED);
  } catch {
    // Storage is blocked: memory alone.
  }
}

/** Whether this page was opened by a link just now, so that `next` counts. */
export let fresh = false;
/** Whether the link could not be read. */
export let broken = false;

/** @returns {Link} */
function read() {
  const key = /^#key=(.*)$/s.exec(location.hash)?.[1];
  if (key === undefined) return stored() || {};
  // Only our own routes: `next` names a path of this page and can lead nowhere else.
  const next = /^\/(?!\/)/.test(params.next || '') ? '#' + params.next : '';
  history.replaceState(history.state, '', location.pathname + location.search + next);
  fresh = true;
  try {
    const link = decode(decodeURIComponent(key));
    if (!/^https?:\/\//.test(link.serverUrl || '')) delete link.serverUrl;
    store(link.oneTimeToken ? null : link);
    return link;
  } catch {
    broken = true;
    store(null);
    return {};
  }
}

const link = read();

/** The session: token and server. @type {{token: string, appId: string, base: string, who: Who | null}} */
export const session = { token: '', appId: '', base: '', who: null };

/** @param {Link} from */
function take(from) {
  session.token = from.token || '';
  session.appId = from.appId || '';
  const base = (from.serverUrl || '').replace(/\/+$/, '');
  session.base = base === location.origin ? '' : base;
}
take(link);

/** The one-time token of the link, once. */
export function oneTime() {
  const token = link.oneTimeToken;
  delete link.oneTimeToken;
  return token;
}

/** Takes up a session with that token. @param {string} token */
export function begin(token) {
  link.token = token;
  take(link);
  store(link);
}

/** Forgets the session on this side. */
export function forget() {
  store(null);
  session.token = '';
  session.who = null;
}

/** Whether the token belongs to an organisation: its team, or whoever runs this server. */
export const operator = () => !session.who?.appId;

/** @param {string} capability */
export const can = (capability) => session.who?.capabilities.includes(capability) ?? false;
