// @ts-check
/** A JSON Schema as a table. One that refers to itself, or is very deep, is cut and says so. */
import { html } from './preact.js';
import { json } from './code.js';
import { t } from './i18n.js';

const DEPTH = 8;
const ROWS = 300;

/** @param {any} root @param {any} schema @returns {any} */
function follow(root, schema) {
  for (let hops = 0; schema?.$ref && hops < 10; hops += 1) {
    if (!schema.$ref.startsWith('#')) return { description: schema.$ref };
    const found = schema.$ref.slice(1).split('/').filter(Boolean).reduce((/** @type {any} */ at, /** @type {string} */ part) => at?.[decodeURIComponent(part).replaceAll('~1', '/').replaceAll('~0', '~')], root);
    schema = found || { description: schema.$ref };
  }
  return schema && typeof schema === 'object' ? schema : {};
}

/** @param {any} s */
function kind(s) {
  const type = Array.isArray(s.type) ? s.type.join(' | ') : s.type || (s.properties ? 'object' : s.enum ? 'enum' : s.items ? 'array' : s.oneOf || s.anyOf ? 'oneOf' : 'any');
  return s.format ? `${type} (${s.format})` : type;
}

/** @param {any} s */
function rules(s) {
  const found = [];
  if (s.enum) found.push(s.enum.slice(0, 12).map((/** @type {any} */ v) => json(v)).join(' | '));
  if (s.const !== undefined) found.push('= ' + json(s.const));
  if (s.default !== undefined) found.push(t('byDefault') + ' ' + json(s.default));
  for (const name of ['minimum', 'maximum', 'minLength', 'maxLength', 'minItems', 'maxItems', 'pattern']) if (s[name] !== undefined) found.push(`${name} ${name === 'pattern' ? s[name] : json(s[name])}`);
  return found;
}

/** @typedef {{name: string, depth: number, schema: any, required: boolean, again: boolean}} Line */

/** @param {any} root @returns {Line[]} */
export function lines(root) {
  /** @type {Line[]} */
  const out = [];
  /** @param {any} raw @param {number} depth @param {any[]} above */
  const walk = (raw, depth, above) => {
    const schema = follow(root, raw);
    const parts = [schema, ...(schema.allOf || []).map((/** @type {any} */ each) => follow(root, each))];
    for (const part of parts) {
      for (const [name, child] of Object.entries(part.properties || {})) {
        if (out.length >= ROWS) return;
        const is = follow(root, child);
        const inner = is.items ? follow(root, is.items) : is;
        const again = above.includes(inner) || inner === root || depth >= DEPTH;
        out.push({ name, depth, schema: { ...is, inner: is.items ? kind(inner) : '' }, required: (part.required || []).includes(name), again: again && !!(inner.properties || inner.allOf) });
        if (!again) walk(inner, depth + 1, [...above, inner]);
      }
    }
  };
  walk(root, 0, [root]);
  return out;
}

/** @param {{schema: any}} props */
export default function Schema({ schema }) {
  const list = lines(schema);
  if (!list.length) return html`<p class="pad dim">${t('noProperties')}</p>`;
  return html`<div class="tablebox" tabindex="0" role="region" aria-label=${t('schema')}><table><thead><tr><th>${t('field')}</th><th>${t('type')}</th><th>${t('description')}</th></tr></thead><tbody>${list.map((line) => html`<tr><td class="mono nowrap">${'\u2003'.repeat(line.depth)}${line.name}${line.required && html` <span class="bad-t" title=${t('required')}>*<span class="sr">${t('required')}</span></span>`}</td><td class="mono dim">${line.schema.inner ? `${line.schema.inner}[]` : kind(line.schema)}</td><td class="wrapany">${line.schema.description}${line.again && html`<span class="tag">${t('seeAbove')}</span>`} ${rules(line.schema).map((rule) => html`<span class="tag">${rule}</span> `)}</td></tr>`)}</tbody></table></div>${list.length >= ROWS && html`<p class="pad hint">${t('cutRows', { n: ROWS })}</p>`}`;
}
