// @ts-check
/** Texts, numbers, dates. A catalogue is one module per language; `t` looks a text up by its key. */

/** @type {Record<string, () => Promise<{default: Record<string, string>}>>} */
const CATALOGUES = {
  en: () => import('./text-en.js'),
  de: () => import('./text-de.js'),
  fr: () => import('./text-fr.js'),
  es: () => import('./text-es.js'),
  'pt-BR': () => import('./text-pt-br.js'),
  ja: () => import('./text-ja.js'),
};

/** Names of the languages, in themselves. */
export const LANGUAGES = { en: 'English', de: 'Deutsch', fr: 'Français', es: 'Español', 'pt-BR': 'Português (Brasil)', ja: '日本語' };

export let lang = 'en';
/** @type {Record<string, string>} */
let texts = {};
/** @type {Intl.PluralRules} */
let plurals;

/** The best of our languages for what is wanted. @param {readonly string[]} wanted */
function choose(wanted) {
  for (const want of wanted) {
    const base = want.toLowerCase().split('-')[0];
    const found = Object.keys(CATALOGUES).find((name) => name.toLowerCase() === want.toLowerCase() || name.toLowerCase().split('-')[0] === base);
    if (found) return found;
  }
  return 'en';
}

/** @param {(string | undefined)[]} wanted */
export async function load(...wanted) {
  lang = choose(/** @type {string[]} */ ([...wanted, ...navigator.languages].filter(Boolean)));
  texts = (await CATALOGUES[lang]()).default;
  plurals = new Intl.PluralRules(lang);
  document.documentElement.lang = lang;
}

/**
 * The text of a key, with `{name}` filled in. Where `n` is given and the text has forms, separated by `|`, the
 * first is for the plural rule "one", the last for all others.
 * @param {string} key @param {Record<string, string | number>} [values]
 */
export function t(key, values) {
  let text = texts[key] ?? key;
  if (!values) return text;
  if (values.n !== undefined && text.includes('|')) {
    const forms = text.split('|');
    text = forms[plurals.select(Number(values.n)) === 'one' ? 0 : forms.length - 1];
  }
  return text.replace(/\{(\w+)\}/g, (_, name) => {
    const value = values[name] ?? '';
    return typeof value === 'number' ? num(value) : value;
  });
}

/** Whether the catalogue has that key. @param {string} key */
export const has = (key) => key in texts;

/** @type {Map<string, any>} */
const formats = new Map();

/** @template T @param {string} at @param {() => T} make @returns {T} */
function once(at, make) {
  const name = lang + at;
  if (!formats.has(name)) formats.set(name, make());
  return formats.get(name);
}

/** @param {number} value @param {Intl.NumberFormatOptions} [options] */
export const num = (value, options = {}) => once('#' + JSON.stringify(options), () => new Intl.NumberFormat(lang, options)).format(value);

/** @param {number} share */
export const percent = (share) => num(Math.floor(share * 1000) / 1000, { style: 'percent', maximumFractionDigits: share < 1 && share > 0.9 ? 1 : 0 });

/** @param {number} ms */
export function duration(ms) {
  if (ms < 1000) return num(ms, { style: 'unit', unit: 'millisecond', unitDisplay: 'short' });
  return num(ms / 1000, { style: 'unit', unit: 'second', unitDisplay: 'short', maximumFractionDigits: ms < 10000 ? 1 : 0 });
}

/** @param {number} count */
export function bytes(count) {
  const units = ['byte', 'kilobyte', 'megabyte'];
  let at = 0;
  while (count >= 1000 && at < 2) {
    count /= 1000;
    at += 1;
  }
  return num(count, { style: 'unit', unit: units[at], unitDisplay: at ? 'short' : 'long', maximumFractionDigits: 1 });
}

/** Times in UTC instead of local ones. */
export const zone = { utc: false };

/** @param {string | number | Date} at @param {Intl.DateTimeFormatOptions} [options] */
export function date(at, options = { dateStyle: 'medium', timeStyle: 'medium' }) {
  const full = { ...options, timeZone: zone.utc ? 'UTC' : undefined };
  return once('@' + JSON.stringify(full), () => new Intl.DateTimeFormat(lang, full)).format(new Date(at));
}

/** A moment as a field for date and time has it, in the zone that is shown. @param {string} at */
export function clock(at) {
  const time = new Date(at);
  if (Number.isNaN(time.getTime())) return '';
  return new Date(time.getTime() - (zone.utc ? 0 : time.getTimezoneOffset() * 60_000)).toISOString().slice(0, 16);
}

/** The moment that such a field means. @param {string} text */
export const moment = (text) => (text ? new Date(text + (zone.utc ? 'Z' : '')).toISOString() : '');

/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const STEPS = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]];

/** For how long something has been so. @param {string | number | Date} at */
export function since(at) {
  const seconds = Math.max(0, Date.now() - new Date(at).getTime()) / 1000;
  const [unit, size] = STEPS.find(([, each]) => seconds >= each) || STEPS[3];
  return num(Math.trunc(seconds / size), { style: 'unit', unit, unitDisplay: 'short' });
}

/** A span of time, exactly. @param {number} seconds */
export function lasting(seconds) {
  const [unit, size] = STEPS.find(([, each]) => seconds % each === 0) || STEPS[3];
  return num(seconds / size, { style: 'unit', unit, unitDisplay: 'long' });
}

/** How long ago, or in how long. @param {string | number | Date} at @param {number} [now] */
export function relative(at, now = Date.now()) {
  const seconds = (new Date(at).getTime() - now) / 1000;
  if (Math.abs(seconds) > 45 * 86400) return date(at, { dateStyle: 'medium' });
  const [unit, size] = STEPS.find(([, each]) => Math.abs(seconds) >= each) || STEPS[3];
  return once('r', () => new Intl.RelativeTimeFormat(lang, { numeric: 'auto', style: 'short' })).format(Math.trunc(seconds / size), unit);
}
