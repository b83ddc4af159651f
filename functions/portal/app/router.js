// @ts-check
/** Routes are in the hash, with every filter: `#/app/app_1/deliveries?status=fail`. */
import { useEffect, useState } from './preact.js';

/** How far down each step of the history was read. @type {Map<any, number>} */
const tops = new Map();
// A step that is new has no name yet.
const named = () => (history.state === null && history.replaceState(Math.random(), ''), history.state);
let step = named();

/** How far down this step was read when it was left. */
export const reached = () => tops.get(step) || 0;

/** @typedef {{path: string, parts: string[], query: Record<string, string>}} Route */

/** @returns {Route} */
export function parse(hash = location.hash) {
  const [path, search = ''] = hash.replace(/^#/, '').split(/\?(.*)/s);
  const parts = path.split('/').filter(Boolean).map((part) => {
    try {
      return decodeURIComponent(part);
    } catch {
      return part;
    }
  });
  return { path: '/' + parts.join('/'), parts, query: Object.fromEntries(new URLSearchParams(search)) };
}

/** @param {string} path @param {Record<string, string | undefined | null | false>} [query] */
export function href(path, query = {}) {
  const search = new URLSearchParams(/** @type {any} */ (Object.entries(query).filter(([, value]) => value)));
  const text = search.toString();
  return '#' + path + (text ? '?' + text : '');
}

/** @param {string} path @param {Record<string, string | undefined>} [query] */
export function go(path, query) {
  location.hash = href(path, query);
}

/** Changes parts of the query; without a step in the history where one types. @param {Record<string, string | undefined | null | false>} changes @param {boolean} [quiet] */
export function filter(changes, quiet) {
  const now = parse();
  const target = href(encode(now.parts), { ...now.query, ...changes });
  if (quiet) {
    history.replaceState(step, '', target);
    dispatchEvent(new HashChangeEvent('hashchange'));
  } else {
    location.hash = target;
  }
}

/** @param {string[]} parts */
export const encode = (parts) => '/' + parts.map(encodeURIComponent).join('/');

export function useRoute() {
  const [route, set] = useState(parse());
  useEffect(() => {
    const changed = () => {
      tops.set(step, scrollY);
      step = named();
      set(parse());
    };
    addEventListener('hashchange', changed);
    return () => removeEventListener('hashchange', changed);
  }, []);
  return /** @type {Route} */ (route);
}
