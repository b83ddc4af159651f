// @ts-check
/** Event types to choose from, as a tree: by group, or by the dots in their names. */
import { html, useEffect, useRef, useState } from './preact.js';
import { all } from './api.js';
import { Icon } from './icons.js';
import { Failure, Search, Skeleton } from './ui.js';
import { t } from './i18n.js';

/** All types' names and groups, without their schemas. */
export function useTypes() {
  const [state, set] = useState(/** @type {{items?: any[], error?: any, more?: boolean}} */ ({}));
  const load = () => void all('/event-type', { with_content: false }).then(set, (error) => set({ error }));
  useEffect(load, []);
  return { ...state, load };
}

/** @param {any[]} types @returns {[string, any[]][]} */
export function groups(types) {
  const named = types.some((type) => type.groupName);
  /** @type {Map<string, any[]>} */
  const found = new Map();
  for (const type of types) {
    const name = named ? type.groupName || '' : type.name.includes('.') ? type.name.split('.')[0] : '';
    found.set(name, [...(found.get(name) || []), type]);
  }
  return [...found].sort(([a], [b]) => (a ? (b ? a.localeCompare(b) : -1) : 1));
}

/** @param {{label: string, checked: boolean, mixed: boolean, set: () => void}} props */
function Tri({ label, checked, mixed, set }) {
  const ref = useRef(/** @type {any} */ (null));
  useEffect(() => {
    ref.current.indeterminate = mixed;
  });
  return html`<input type="checkbox" ref=${ref} checked=${checked} aria-label=${label} onChange=${set} />`;
}

/** `only`: the types that there are to choose, if not all. @param {{value: string[], set: (names: string[]) => void, only?: string[]}} props */
export default function TypePicker({ value, set, only }) {
  const { items, error, more, load } = useTypes();
  const [q, search] = useState('');
  if (error) return html`<${Failure} error=${error} retry=${load} />`;
  if (!items) return html`<${Skeleton} rows=${3} />`;
  const known = new Set(items.map((type) => type.name));
  const missing = value.filter((name) => !known.has(name)).map((name) => ({ name, description: '' }));
  const chosen = new Set(value);
  const shown = [...missing, ...items].filter((type) => !only || only.includes(type.name)).filter((type) => !q || `${type.name} ${type.description}`.toLowerCase().includes(q.toLowerCase()));
  const turn = (/** @type {string[]} */ names, /** @type {boolean} */ on) => {
    for (const name of names) on ? chosen.add(name) : chosen.delete(name);
    set([...chosen]);
  };
  return html`<div class="col tight"><${Search} label=${t('searchTypes')} value=${q} set=${search} />
    <p class="hint" aria-live="polite">${value.length ? t('nChosen', { n: value.length }) : only ? t('noneIsThese') : t('noneIsAll')}</p>
    <div class="tree">${groups(shown).map(([name, types]) => {
      const names = types.map((type) => type.name);
      const on = names.filter((each) => chosen.has(each)).length;
      return html`<div class="branch" key=${name}><${Tri} label=${name || t('otherTypes')} checked=${on === names.length} mixed=${on > 0 && on < names.length} set=${() => turn(names, on < names.length)} /><details open=${!!q || shown.length < 30 || on > 0}><summary><${Icon} name="chevron" size=${14} /><span class="strong">${name || t('otherTypes')}</span><span class="dim small">${names.length}</span></summary>
        <div>${types.map((type) => html`<label class="check" key=${type.name}><input type="checkbox" checked=${chosen.has(type.name)} onChange=${(/** @type {any} */ e) => turn([type.name], e.target.checked)} /><span class="grow"><span class="mono">${type.name}</span>${type.deprecated && html` <span class="tag">${t('deprecated')}</span>`}${type.description && html`<br /><span class="dim small">${type.description}</span>`}</span></label>`)}</div></details></div>`;
    })}${!shown.length && html`<p class="pad dim">${t(items.length ? 'noMatch' : 'noTypes')}</p>`}</div>${more && html`<p class="hint">${t('onlyLoaded')}</p>`}</div>`;
}
