// @ts-check
/** Hooks that load: one answer, a list page by page, and what a row needs once it is seen. */
import { Component, html, useCallback, useEffect, useLayoutEffect, useRef, useState } from './preact.js';
import { address, get, keepList, last, listLeft } from './api.js';

/** @typedef {import('./api.js').Query} Query */

/**
 * One answer; `null` as a path asks nothing. Loads again when path or query change.
 * @param {string | null} path @param {Query} [query]
 */
export function useGet(path, query) {
  const at = path && address(path, query);
  const [state, set] = useState(/** @type {{at?: any, data?: any, error?: any}} */ ({}));
  const [turn, again] = useState(0);
  // Before the page is drawn: the request does not wait for that.
  useLayoutEffect(() => {
    if (!path) return undefined;
    const stop = new AbortController();
    get(path, query, stop.signal).then(
      (data) => set({ at, data }),
      (error) => stop.signal.aborted || set((old) => ({ at, error, data: old.at === at ? old.data : undefined })),
    );
    return () => stop.abort();
  }, [at, turn]);
  const known = state.at === at ? state : { data: path ? last(path, query) : undefined, error: undefined };
  return { data: known.data, error: known.error, loading: !!path && state.at !== at && known.data === undefined, reload: useCallback(() => again((n) => n + 1), []) };
}

/**
 * A list, page by page: nothing is asked for that nobody wants to see.
 * @param {string | null} path @param {Query} [query] @param {number} [limit]
 */
export function usePages(path, query, limit = 50) {
  const first = path && address(path, { ...query, limit });
  const [state, set] = useState(/** @type {{at?: any, items: any[], iterator?: any, done?: boolean, error?: any}} */ ({ items: [] }));
  const [busy, work] = useState(false);
  const [turn, again] = useState(0);
  const now = useRef({ at: first, asked: 0, shown: 0 });
  now.current.at = first;
  const ask = useCallback((/** @type {any} */ iterator, /** @type {any[]} */ before, /** @type {AbortSignal | undefined} */ signal) => {
    const mine = ++now.current.asked;
    // An answer that was overtaken by a later one, or is another list's, is not shown.
    const show = (/** @type {(old: any) => any} */ change) => {
      if (now.current.at !== first || mine < now.current.shown) return;
      now.current.shown = mine;
      set(change);
    };
    if (!path) return undefined;
    work(true);
    return get(path, { ...query, limit, iterator }, signal).then(
      (page) => show(() => ({ at: first, items: [...before, ...page.data], iterator: page.iterator, done: page.done })),
      (error) => signal?.aborted || show((old) => ({ ...old, at: first, items: before, error })),
    ).finally(() => now.current.asked === mine && work(false));
  }, [first]);
  const step = history.state + ' ' + first;
  useLayoutEffect(() => {
    const before = listLeft(step);
    if (before) return set(before);
    const stop = new AbortController();
    ask(undefined, [], stop.signal);
    return () => stop.abort();
  }, [ask]);
  useLayoutEffect(() => {
    if (first && state.at === first) keepList(step, state.items.length > limit && !state.error && state);
  }, [state]);
  const kept = path && state.at !== first ? last(path, { ...query, limit }) : null;
  const shown = state.at === first ? state : { items: kept?.data || [], done: true, iterator: null, error: undefined };
  return {
    items: /** @type {any[]} */ (shown.items), error: shown.error, busy,
    loading: !!path && state.at !== first && !kept,
    /** Rows of an earlier visit, which are asked for again. */
    old: !!kept,
    /** How often somebody asked for it again: rows that load details then load them again. */
    turn,
    done: shown.done ?? true,
    more: () => ask(shown.iterator, shown.items, undefined),
    reload: () => {
      again((n) => n + 1);
      return ask(undefined, [], undefined);
    },
  };
}

/** Whether the element was seen, for rows that load details. */
export function useSeen() {
  const ref = useRef(/** @type {any} */ (null));
  const [seen, set] = useState(false);
  useEffect(() => {
    if (seen || !ref.current) return undefined;
    /** @type {any} */
    let timer;
    const watch = new IntersectionObserver((entries) => {
      clearTimeout(timer);
      // A row that is scrolled past asks nothing.
      if (entries.at(-1)?.isIntersecting) timer = setTimeout(() => set(true), 120);
    }, { rootMargin: '80px' });
    watch.observe(ref.current);
    return () => {
      clearTimeout(timer);
      watch.disconnect();
    };
  }, [seen]);
  return /** @type {[any, boolean]} */ ([ref, seen]);
}

/** Runs `reload` when the list that a row is in was asked for again. @param {number} turn @param {() => void} reload */
export function useAgain(turn, reload) {
  const begun = useRef(turn);
  useEffect(() => {
    if (turn !== begun.current) reload();
    begun.current = turn;
  }, [turn]);
}

/** Runs `work` while the page is visible, `seconds` after it last ended. @param {() => any} work @param {number | null} seconds */
export function useEvery(work, seconds) {
  const latest = useRef(work);
  latest.current = work;
  useEffect(() => {
    if (!seconds) return undefined;
    // A slow server is not asked again before it has answered.
    const wait = () => setTimeout(async () => {
      if (!document.hidden) await latest.current();
      if (timer) timer = wait();
    }, seconds * 1000);
    /** @type {any} */
    let timer = wait();
    return () => {
      clearTimeout(timer);
      timer = null;
    };
  }, [seconds]);
}

/** The time, as often as what counts down to `at` changes. @param {string | null | undefined} at */
export function useNow(at) {
  const [now, set] = useState(Date.now());
  useEvery(() => set(Date.now()), at ? (Math.abs(new Date(at).getTime() - now) < 120_000 ? 1 : 30) : null);
  return now;
}

/** Rows of a part of a long list. */
const PART = 50;

/** Some rows of a table while they are near the part that is seen; else the room that they took. @param {{items: any[], row: (item: any) => any}} props */
function Part({ items, row }) {
  const ref = useRef(/** @type {any} */ (null));
  const [away, set] = useState(0);
  useEffect(() => {
    const watch = new IntersectionObserver((entries) => {
      const { isIntersecting, boundingClientRect } = /** @type {IntersectionObserverEntry} */ (entries.at(-1));
      set(isIntersecting ? 0 : boundingClientRect.height);
    }, { rootMargin: '1500px' });
    watch.observe(ref.current);
    return () => watch.disconnect();
  }, []);
  return html`<tbody role="rowgroup" ref=${ref} style=${{ height: away ? away + 'px' : '' }}>${!away && items.map(row)}</tbody>`;
}

/** The bodies of a table of any length: what is drawn is what is seen, and somewhat more. @param {{items: any[], row: (item: any) => any}} props */
export function Rows({ items, row }) {
  const parts = [];
  for (let at = 0; at < items.length; at += PART) parts.push(html`<${Part} key=${at} items=${items.slice(at, at + PART)} row=${row} />`);
  return parts;
}

/** A part of a long list that is drawn again only when something of `on` changes. */
export class Kept extends Component {
  /** @param {{on: any[]}} next */
  shouldComponentUpdate({ on }) {
    return on.some((value, i) => value !== this.props.on[i]);
  }

  render() {
    return this.props.view();
  }
}
