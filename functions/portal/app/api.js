// @ts-check
/** The API's client: our public API with the session's token, and nothing else. */
import { exact, member } from './code.js';
import { session } from './session.js';

/** Requests at a time: lists ask for details of each row that is seen. */
const PARALLEL = 6;
/** Answers that are shown at once while they are asked for again. */
const KEPT = 150;

/** Why a request failed. `status` is 0 where no answer came. */
export class ApiError extends Error {
  /** @param {number} status @param {string} code @param {string} detail @param {number} [after] @param {{loc: string[], msg: string}[]} [violations] */
  constructor(status, code, detail, after, violations) {
    super(detail);
    this.status = status;
    this.code = code;
    this.after = after;
    this.violations = violations || [];
  }
}

/** Called when the API says that the session has ended. @type {{ended: () => void}} */
export const events = { ended: () => {} };

/** @type {(() => void)[]} */
const waiting = [];
let running = 0;

async function turn() {
  if (running >= PARALLEL) await new Promise((go) => waiting.push(() => go(null)));
  running += 1;
}

function done() {
  running -= 1;
  waiting.shift()?.();
}

/** @typedef {Record<string, string | number | boolean | string[] | null | undefined>} Query */

/** @param {string} path @param {Query} [query] */
export function address(path, query = {}) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === null || value === '') continue;
    for (const each of Array.isArray(value) ? value : [value]) search.append(name, String(each));
  }
  const text = search.toString();
  return path + (text ? '?' + text : '');
}

/** The server's reasons, by field; where it is inside of one, the place is said. Fields of a destination are fields of the form. @param {any} error @returns {Record<string, string>} */
export function reasons(error) {
  /** @type {Record<string, string>} */
  const found = {};
  for (const { loc, msg } of error?.violations || []) {
    const [name = '', ...inside] = loc.slice(loc[1] === 'destination' && loc[2] ? 2 : 1);
    const place = inside.filter(Boolean).join('.');
    // A queue's group is another field of the same name.
    const field = loc[1] === 'fifoKey' ? 'orderKey' : name;
    found[field] ||= place ? `${place}: ${msg}` : msg;
  }
  return found;
}

/** @param {Response} response @param {string} text */
function failure(response, text) {
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = {};
  }
  const violations = Array.isArray(body?.detail) ? body.detail : [];
  const detail = violations.length
    ? violations.map((/** @type {any} */ v) => `${(v.loc || []).slice(1).join('.')}: ${v.msg}`).join('\n')
    : typeof body?.detail === 'string' ? body.detail : response.statusText;
  const after = Number(response.headers.get('retry-after')) || undefined;
  return new ApiError(response.status, body?.code || '', detail, after, violations);
}

/**
 * Asks the API; the answer's text, as it came. A body that is text is JSON already.
 * @param {string} method @param {string} path @param {{query?: Query, body?: unknown, signal?: AbortSignal}} [options]
 */
export async function text(method, path, { query, body, signal } = {}) {
  await turn();
  try {
    /** @type {Record<string, string>} */
    const headers = { authorization: 'Bearer ' + session.token };
    if (body !== undefined) headers['content-type'] = 'application/json';
    if (method === 'POST') headers['idempotency-key'] = key();
    const init = { method, headers, signal, body: typeof body === 'string' ? body : body === undefined ? undefined : JSON.stringify(body), credentials: /** @type {const} */ ('omit') };
    let response;
    try {
      response = await fetch(session.base + '/api/v1' + address(path, query), init);
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, 'unreachable', String(/** @type {Error} */ (error).message || ''));
    }
    const answer = await response.text();
    if (response.ok) return answer;
    if (response.status === 401 && session.who) events.ended();
    throw failure(response, answer);
  } finally {
    done();
  }
}

/** @param {string} method @param {string} path @param {{query?: Query, body?: unknown, signal?: AbortSignal}} [options] @returns {Promise<any>} */
export async function call(method, path, options) {
  const answer = await text(method, path, options);
  const value = answer ? JSON.parse(answer) : null;
  // What people wrote keeps its digits.
  for (const name of ['schemas', 'filter']) if (value?.[name]) value[name] = exact(member(answer, name) || 'null');
  return value;
}

/** @param {string} path @param {Query} [query] @param {AbortSignal} [signal] */
export async function get(path, query, signal) {
  // What is busy counting says 503 and has more of it done by the next request.
  const again = async (/** @type {any} */ error) => {
    if (error.status !== 503 || signal?.aborted) throw error;
    await new Promise((go) => setTimeout(go, (error.after || 1) * 1000));
    return call('GET', path, { query, signal });
  };
  const at = address(path, query);
  const begun = early.get(at);
  early.delete(at);
  const answer = await (begun || call('GET', path, { query, signal })).catch(again);
  keep(at, answer);
  return answer;
}

/** Requests that run before the screen that shows their answers does. @type {Map<string, Promise<any>>} */
const early = new Map();

/** Asks for what is going to be asked for. @param {string} path @param {Query} [query] */
export function ahead(path, query) {
  const begun = call('GET', path, { query });
  // Whoever asks for it hears of its failure.
  begun.catch(() => {});
  early.set(address(path, query), begun);
}

/** @type {Map<string, any>} */
const seen = new Map();

/** @param {string} at @param {any} value */
function keep(at, value) {
  seen.delete(at);
  seen.set(at, value);
  if (seen.size > KEPT) seen.delete(/** @type {string} */ (seen.keys().next().value));
}

/** What was answered before, to show until the new answer is there. @param {string} path @param {Query} [query] */
export const last = (path, query) => seen.get(address(path, query));

/** Lists of several pages, by the step of the history that shows them: Back finds them as they were, until something is changed or a minute is over. @type {Map<string, {list: any, until: number}>} */
const left = new Map();
/** Lists that are kept so. */
const LEFT = 3;

/** @param {string} step */
export function listLeft(step) {
  const kept = left.get(step);
  return kept && Date.now() < kept.until ? kept.list : undefined;
}

/** Keeps a list for Back, or no longer. @param {string} step @param {any} list */
export function keepList(step, list) {
  left.delete(step);
  if (list) left.set(step, { list, until: Date.now() + 60000 });
  if (left.size > LEFT) left.delete(/** @type {string} */ (left.keys().next().value));
}

/** Forgets answers: something was changed. @param {string} [part] */
export function stale(part) {
  early.clear();
  left.clear();
  for (const at of [...seen.keys()]) if (!part || at.includes(part)) seen.delete(at);
}

/** Sends a change and forgets what may be different now. @param {string} method @param {string} path @param {unknown} [body] */
export async function change(method, path, body) {
  const answer = await call(method, path, { body });
  stale();
  return answer;
}

/** All pages of a list, up to `most` items. @param {string} path @param {Query} [query] @param {number} [most] @param {AbortSignal} [signal] */
export async function all(path, query = {}, most = 2500, signal) {
  /** @type {any[]} */
  const items = [];
  let iterator;
  do {
    const page = await get(path, { limit: 250, ...query, iterator }, signal);
    items.push(...page.data);
    iterator = page.done ? null : page.iterator;
  } while (iterator && items.length < most);
  return { items, more: !!iterator };
}

function key() {
  return crypto.randomUUID ? crypto.randomUUID() : Array.from(crypto.getRandomValues(new Uint8Array(16)), (b) => b.toString(16).padStart(2, '0')).join('');
}
