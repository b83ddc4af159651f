// @ts-check
/** Text to read and to copy: JSON in colours, code, bytes. */
import { html, useState } from './preact.js';
import { Button, complain, toast } from './ui.js';
import { bytes, t } from './i18n.js';

/** More than that is cut, with the rest in a download. */
const SHOWN = 100_000;
/** Colours cost elements; beyond this text is plain. */
const COLOURED = 30_000;

/** @param {string} text */
export function copy(text) {
  const old = () => {
    const area = document.createElement('textarea');
    area.value = text;
    (document.querySelector('dialog[open]') || document.body).append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done ? Promise.resolve() : Promise.reject(new Error(t('copyFailed')));
  };
  return (navigator.clipboard ? navigator.clipboard.writeText(text).catch(old) : old()).then(() => toast(t('copied')), complain);
}

/** @param {{text: string | (() => string | Promise<string>), label?: string, children?: any, kind?: string}} props */
export const Copy = ({ text, label = t('copy'), children, kind = 'ghost' }) => html`<${Button} small kind=${kind} icon="copy" label=${children ? undefined : label} onClick=${async () => {
  try {
    await copy(typeof text === 'string' ? text : await text());
  } catch (error) {
    complain(error);
  }
}}>${children}<//>`;

/** @param {string} text @param {string} name @param {string} [type] */
export function download(text, name, type = 'application/json') {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const TOKEN = /("(?:\\.|[^"\\])*")(\s*:)?|\b(true|false|null)\b|(-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)/g;

/** @param {string} text */
function colours(text) {
  if (text.length > COLOURED) return text;
  const out = [];
  let from = 0;
  for (const match of text.matchAll(TOKEN)) {
    if (match.index > from) out.push(text.slice(from, match.index));
    const [whole, string, colon, word] = match;
    out.push(html`<span class=${string ? (colon ? 'k' : 's') : word ? 'l' : 'n'}>${string || whole}</span>`, colon || '');
    from = match.index + whole.length;
  }
  out.push(text.slice(from));
  return out;
}

/** What is wrong with a text that is to be a JSON object. @param {string} text */
export function jsonProblem(text) {
  try {
    const value = JSON.parse(text);
    return value && typeof value === 'object' && !Array.isArray(value) ? '' : t('mustObject');
  } catch (error) {
    return t('notJson', { why: /** @type {Error} */ (error).message });
  }
}

const PIECE = /"(?:\\.|[^"\\])*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/** JSON text, indented, its numbers digit by digit as they came; as it is where it is none. @param {string} text */
export function pretty(text) {
  try {
    JSON.parse(text);
  } catch {
    return text;
  }
  const out = [];
  let depth = 0;
  let before = '';
  const line = () => out.push('\n' + '  '.repeat(depth));
  for (const [piece] of text.matchAll(PIECE)) {
    const [opens, closes, opened] = [/^[{[]$/.test(piece), /^[}\]]$/.test(piece), /^[{[]$/.test(before)];
    if (closes) depth -= 1;
    if ((opened && !closes) || (closes && !opened) || before === ',') line();
    if (opens) depth += 1;
    out.push(piece === ':' ? ': ' : piece[0] === '"' ? JSON.stringify(JSON.parse(piece)) : piece);
    before = piece;
  }
  return out.join('');
}

/** Marks a number that is kept as text: no JavaScript number has all of its digits. */
const DIGITS = '\u0000#';

/** Reads JSON. A number that JavaScript would change becomes a text that `json` writes as it came. @param {string} text @returns {any} */
export const exact = (text) => JSON.parse(text.replace(PIECE, (piece) => (/^-?\d/.test(piece) && String(Number(piece)) !== piece ? JSON.stringify(DIGITS + piece) : piece)));

/** The JSON of what `exact` has read. @param {any} value @param {number} [indent] */
export const json = (value, indent) => JSON.stringify(value, null, indent)?.replace(/"\\u0000#([^"]*)"/g, '$1') || '';

/**
 * A block of text with a button to copy it. Everything is text: nothing in it is ever markup.
 * @param {{text: string, json?: boolean, label?: string, name?: string, wrapped?: boolean}} props
 */
export function Block({ text, json, label, name, wrapped }) {
  const cut = text.length > SHOWN;
  const shown = cut ? text.slice(0, SHOWN) : text;
  return html`<div class="codebox"><pre class=${'code ' + (wrapped ? 'wrapped' : '')} tabindex="0" role="region" aria-label=${label || t('text')}>${json ? colours(shown) : shown}${cut ? '…' : ''}</pre>
    <div class="row tight"><${Copy} text=${text} kind="" /></div></div>
    ${cut && html`<div class="note"><span class="grow">${t('cutAt', { shown: bytes(SHOWN), all: bytes(text.length) })}</span><${Button} small icon="download" onClick=${() => download(text, name || 'payload.json')}>${t('download')}<//></div>`}`;
}

/** Whether text is base64 of something that is no text. @param {string} text */
export function binary(text) {
  if (text.length < 8 || text.length % 4 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) return null;
  try {
    const raw = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(raw);
      return null;
    } catch {
      return raw;
    }
  } catch {
    return null;
  }
}

/** @param {Uint8Array} raw */
export function hex(raw) {
  const lines = [];
  for (let at = 0; at < Math.min(raw.length, 4096); at += 16) {
    const part = [...raw.slice(at, at + 16)];
    const codes = part.map((b) => b.toString(16).padStart(2, '0')).join(' ');
    lines.push(`${at.toString(16).padStart(6, '0')}  ${codes.padEnd(47)}  ${part.map((b) => (b > 31 && b < 127 ? String.fromCharCode(b) : '.')).join('')}`);
  }
  return lines.join('\n');
}

/** What a receiver answered: JSON, text, or bytes. @param {{text: string}} props */
export function Answer({ text }) {
  const [raw, set] = useState(false);
  if (!text) return html`<p class="dim small">${t('answerEmpty')}</p>`;
  const data = binary(text);
  if (data) return html`<p class="hint">${t('answerBinary', { size: bytes(data.length) })}</p><${Block} text=${raw ? text : hex(data)} label=${t('answer')} /><div class="row"><${Button} small kind="ghost" onClick=${() => set(!raw)}>${raw ? t('asHex') : t('asBase64')}<//></div>`;
  const shown = pretty(text);
  return html`<${Block} text=${shown} json=${/^\s*[[{]/.test(shown)} wrapped label=${t('answer')} />`;
}

/**
 * The text of a member of an object, exactly as it came: a payload is signed as it was posted.
 * @param {string} text @param {string} name
 */
export function member(text, name) {
  let depth = 0;
  let key = '';
  for (let at = 0; at < text.length; at += 1) {
    const c = text[at];
    if (c === '"') {
      const end = stringEnd(text, at);
      if (depth === 1 && /^\s*:/.test(text.slice(end, end + 20))) key = text.slice(at + 1, end - 1);
      at = end - 1;
    } else if (c === '{' || c === '[') depth += 1;
    else if (c === '}' || c === ']') depth -= 1;
    else if (c === ':' && depth === 1 && key === name) return value(text, at + 1);
  }
  return null;
}

/** @param {string} text @param {number} at */
function stringEnd(text, at) {
  for (at += 1; text[at] !== '"'; at += 1) if (text[at] === '\\') at += 1;
  return at + 1;
}

/** @param {string} text @param {number} from */
function value(text, from) {
  let depth = 0;
  for (let at = from; at < text.length; at += 1) {
    const c = text[at];
    if (c === '"') at = stringEnd(text, at) - 1;
    else if (c === '{' || c === '[') depth += 1;
    else if ((c === '}' || c === ']' || c === ',') && depth === 0) return text.slice(from, at).trim();
    else if (c === '}' || c === ']') depth -= 1;
  }
  return text.slice(from).trim();
}
