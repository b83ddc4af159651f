// @ts-check
/** The look: colours from the query or the organisation's settings, made readable on our grounds. */
import { params } from './session.js';

/** @typedef {{displayName?: string, logoUrl?: string, primaryColorLight?: string, primaryColorDark?: string, fontFamily?: string, darkMode?: string | boolean}} Theme */

const page = document.documentElement;
const system = matchMedia('(prefers-color-scheme: dark)');
/** @type {Theme} */
let settings = {};
/** What the person chose on this page. */
let chosen = '';

/** @param {string | undefined} text @returns {number[] | null} */
function rgb(text) {
  const six = /^#?([0-9a-f]{6})$/i.exec(text || '');
  return six && [0, 2, 4].map((at) => parseInt(six[1].slice(at, at + 2), 16));
}

/** @param {number[]} c */
function light(c) {
  const [r, g, b] = c.map((v) => (v / 255 <= 0.03928 ? v / 3294.6 : ((v / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

/** @param {number[]} a @param {number[]} b */
function contrast(a, b) {
  const [high, low] = [light(a), light(b)].sort((x, y) => y - x);
  return (high + 0.05) / (low + 0.05);
}

/** @param {number[]} a @param {number[]} b @param {number} share */
const mix = (a, b, share) => a.map((v, i) => Math.round(v + (b[i] - v) * share));
/** @param {number[]} c */
const css = (c) => '#' + c.map((v) => v.toString(16).padStart(2, '0')).join('');

/** That colour, moved away from the ground until text in it can be read there. @param {number[]} color @param {number[][]} grounds @param {number[]} to */
function readable(color, grounds, to) {
  for (let share = 0; share <= 1; share += 0.05) {
    const tried = mix(color, to, share);
    if (grounds.every((ground) => contrast(tried, ground) >= 4.6)) return tried;
  }
  return to;
}

/** Only https pictures. @param {string | undefined} url */
export function picture(url) {
  try {
    return new URL(url || '').protocol === 'https:' ? url : '';
  } catch {
    return '';
  }
}

/** Name and logo to show. */
export const brand = () => ({ name: settings.displayName || '', logo: picture(params.icon) || picture(settings.logoUrl) });

export const isDark = () => page.classList.contains('dark');

/** Whether the page that embeds this one says which it is. */
export const fixedMode = () => params.darkMode === 'true' || params.darkMode === 'false';

export function toggle() {
  chosen = isDark() ? 'false' : 'true';
  apply();
}

/** @param {Theme} [from] */
export function apply(from) {
  if (from) settings = from;
  const mode = chosen || (['true', 'false'].includes(params.darkMode) ? params.darkMode : params.darkMode === 'auto' ? 'auto' : String(settings.darkMode ?? 'auto'));
  const dark = mode === 'true' || mode === 'dark' || (mode !== 'false' && mode !== 'light' && system.matches);
  page.classList.toggle('dark', dark);
  page.classList.toggle('noGutters', params.noGutters === 'true');
  const own = dark ? params.primaryColorDark || params.primaryColor || settings.primaryColorDark : params.primaryColorLight || params.primaryColor || settings.primaryColorLight;
  const color = rgb(own);
  const ground = dark ? [14, 15, 19] : [255, 255, 255];
  const set = (/** @type {string} */ name, /** @type {string | null} */ value) => (value ? page.style.setProperty(name, value) : page.style.removeProperty(name));
  const white = [255, 255, 255];
  const black = [16, 16, 22];
  const tint = color && mix(ground, color, dark ? 0.2 : 0.1);
  const link = color && tint && readable(color, dark ? [tint, [27, 29, 36]] : [tint, [243, 243, 246]], dark ? white : [0, 0, 0]);
  set('--accent', color && css(color));
  set('--on', color && css(contrast(white, color) >= contrast(black, color) || contrast(white, color) >= 4.5 ? white : black));
  set('--tint', tint && css(tint));
  set('--link', link && css(link));
  set('--ring', link && css(link) + '66');
  // A family is a name or a list of names: letters, digits, spaces, quotes; nothing is fetched for it.
  const family = params.fontFamily || settings.fontFamily;
  set('--font', family && /^[\w\s,"'-]{1,200}$/.test(family) ? `${/[,"']/.test(family) ? family : `"${family}"`}, -apple-system, "Segoe UI", Roboto, Arial, sans-serif` : null);
}

system.addEventListener('change', () => apply());
