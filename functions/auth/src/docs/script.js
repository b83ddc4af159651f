
(() => {
  const token = document.getElementById('token');
  const menu = document.getElementById('menu');
  const content = document.getElementById('content');
  const search = document.getElementById('search');
  const toggle = document.getElementById('toggle');
  let api;

  // Text only ever becomes text nodes: nothing of the document is read as HTML.
  function make(name, attributes, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes || {})) element.setAttribute(key, value);
    element.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null));
    return element;
  }

  // Text with `code` in it.
  function words(text) {
    return (text || '').split('`').map((part, i) => (i % 2 ? make('code', {}, part) : part));
  }

  // Paragraphs, and headings of the second level.
  function paragraphs(text) {
    return (text || '').split('\n\n').filter(Boolean).map((part) => {
      if (!part.startsWith('## ')) return make('p', {}, words(part));
      const title = part.slice(3);
      return make('h2', { id: title.toLowerCase().replaceAll(' ', '-'), class: 'guide' }, title);
    });
  }

  function found(reference) {
    return reference.slice(2).split('/').reduce((at, key) => at[key], api);
  }

  // What a schema comes to: the schema itself, and the name it goes by.
  function resolve(schema) {
    if (schema && schema.$ref) return { ...resolve(found(schema.$ref)), name: schema.$ref.split('/').pop() };
    if (schema && schema.allOf && schema.allOf.length === 1) {
      const inner = resolve(schema.allOf[0]);
      return { name: inner.name, schema: { ...inner.schema, ...schema, allOf: undefined } };
    }
    return { schema: schema || {} };
  }

  function typeOf(raw) {
    const { schema, name } = resolve(raw);
    let text = schema.format === 'date-time' ? 'date and time' : schema.type || 'anything';
    if (schema.type === 'integer') text = 'integer';
    if (schema.type === 'array') text = 'array of ' + typeOf(schema.items);
    if (name) text = name;
    else if (schema.type === 'object' && schema.additionalProperties && schema.additionalProperties.type) {
      text = 'map of ' + typeOf(schema.additionalProperties);
    }
    return text + (schema.nullable ? ' or null' : '');
  }

  function rulesOf(raw) {
    const { schema } = resolve(raw);
    const rules = [];
    const span = (min, max, what) => {
      if (min !== undefined && max !== undefined) rules.push(`${min} to ${max}${what}`);
      else if (max !== undefined) rules.push(`at most ${max}${what}`);
      else if (min !== undefined) rules.push(`at least ${min}${what}`);
    };
    if (schema.enum) rules.push('one of ' + schema.enum.join(', '));
    else if (schema.type !== 'integer' || schema.maximum !== undefined) span(schema.minimum, schema.maximum, '');
    span(schema.minLength, schema.maxLength, ' characters');
    span(schema.minItems, schema.maxItems, ' entries');
    if (schema.uniqueItems) rules.push('without repetition');
    if (schema.pattern) rules.push(schema.pattern);
    if (schema.type === 'array') rules.push(...rulesOf(schema.items).map((rule) => 'each ' + rule));
    if (schema.default !== undefined) rules.push('default ' + JSON.stringify(schema.default));
    return rules;
  }

  // The schema whose fields are worth showing: through lists and maps.
  function inner(raw) {
    const { schema } = resolve(raw);
    if (schema.type === 'array') return inner(schema.items);
    if (schema.properties) return schema;
    if (schema.additionalProperties && schema.additionalProperties !== true) return inner(schema.additionalProperties);
    return undefined;
  }

  function entry(name, required, schema, about, depth) {
    const rules = rulesOf(schema);
    const nested = depth < 6 ? inner(schema) : undefined;
    return make('div', {},
      make('dt', {}, make('code', {}, name), required ? ' ' : undefined, required ? make('small', {}, 'required') : undefined),
      make('dd', {},
        make('p', {}, make('small', {}, typeOf(schema)), about ? ' · ' : undefined, words(about)),
        rules.length ? make('p', { class: 'rules' }, rules.join(' · ')) : undefined,
        nested ? make('details', {}, make('summary', {}, 'Fields'), fields(nested, depth + 1)) : undefined));
  }

  function fields(schema, depth = 0) {
    const required = schema.required || [];
    const names = Object.keys(schema.properties || {});
    names.sort((a, b) => required.includes(b) - required.includes(a));
    return make('dl', {}, names.map((name) => {
      const property = schema.properties[name];
      return entry(name, required.includes(name), property, resolve(property).schema.description, depth);
    }));
  }

  function body(title, schema) {
    const shown = inner(schema);
    return [make('h3', {}, title, ' ', make('small', {}, typeOf(schema))), shown ? fields(shown) : undefined];
  }

  function exampleOf(raw) {
    return raw && resolve(raw).schema.example;
  }

  function shownExample(example) {
    return example === undefined ? undefined : make('pre', { tabindex: '0' }, make('code', {}, JSON.stringify(example, null, 2)));
  }

  function caller(operation) {
    const kinds = operation.security.flatMap(Object.keys);
    if (kinds.includes('application')) return 'organisation or application token';
    return kinds.length ? 'organisation token' : 'none';
  }

  function answers(operation) {
    return Object.entries(operation.responses).map(([status, raw]) => {
      const response = raw.$ref ? found(raw.$ref) : raw;
      const [type, media] = Object.entries(response.content || {})[0] || [];
      const shown = media && inner(media.schema);
      const title = [make('code', {}, status), ' ', words(response.description), ' ',
        make('small', {}, media ? (shown ? typeOf(media.schema) : type) : '')];
      return shown ? make('details', { class: 'answer' }, make('summary', {}, title), shownExample(exampleOf(media.schema)), fields(shown)) : make('div', {}, title);
    });
  }

  function show(details, path, method, operation) {
    const parameters = operation.parameters || [];
    const media = operation.requestBody && Object.values(operation.requestBody.content)[0];
    details.append(make('div', {},
      paragraphs(operation.description),
      make('p', { class: 'faint' }, 'Auth: ' + caller(operation)),
      parameters.length ? [make('h3', {}, 'Parameters'), make('dl', {}, parameters.map((parameter) =>
        entry(parameter.name, parameter.required, parameter.schema,
          `${parameter.description} (${parameter.in})`, 0)))] : [],
      media ? body(operation.requestBody.required ? 'Request body' : 'Request body (optional)', media.schema) : [],
      make('h3', {}, 'Responses'), answers(operation),
      path !== '/docs' ? trial({
        make, token, path, method, operation, base: location.origin + prefix, example: exampleOf(media && media.schema), resolved: (raw) => resolve(raw).schema,
      }) : undefined));
  }

  // Everything that a search looks at.
  function textOf(path, method, operation) {
    const names = (schema) => {
      const shown = schema && inner(schema);
      return shown ? Object.keys(shown.properties) : [];
    };
    const media = operation.requestBody && Object.values(operation.requestBody.content)[0];
    const success = Object.values(operation.responses).flatMap((response) => Object.values(response.content || {}));
    return [method, path, operation.operationId, operation.summary, operation.description,
      ...(operation.parameters || []).map((parameter) => parameter.name), ...names(media && media.schema),
      ...success.flatMap((answer) => names(answer.schema))].join(' ').toLowerCase();
  }

  function build() {
    document.getElementById('version').textContent = api.info.version;
    const intro = paragraphs(api.info.description);
    intro.push(make('p', {}, make('a', { href: address }, 'The OpenAPI document'), ' ',
      make('small', {}, `version ${api.openapi}, for generators and checkers`)));
    content.replaceChildren(...intro);
    const guide = intro.filter((each) => each.id).map((each) => make('a', { href: '#' + each.id }, each.textContent));
    menu.append(make('div', {}, make('h2', {}, 'Guide'), guide));
    const shown = [];
    for (const tag of api.tags) {
      const section = make('section', {}, make('h2', {}, tag.name), make('p', { class: 'faint' }, words(tag.description)));
      const links = make('div', {}, make('h2', {}, tag.name));
      for (const [path, methods] of Object.entries(api.paths)) {
        for (const [method, operation] of Object.entries(methods)) {
          if (!operation.tags.includes(tag.name)) continue;
          const details = make('details', { class: 'operation' + (operation.deprecated ? ' deprecated' : ''), id: operation.operationId },
            make('summary', {}, make('span', { class: 'method ' + method }, method), make('code', {}, path),
              make('span', { class: 'faint' }, operation.summary, operation.deprecated ? ' (deprecated)' : '')));
          details.addEventListener('toggle', () => {
            if (details.open && details.children.length === 1) show(details, path, method, operation);
          });
          const link = make('a', { href: '#' + operation.operationId }, make('span', { class: 'method ' + method }, method), ' ', operation.summary);
          section.append(details);
          links.append(link);
          shown.push({ details, link, section, links, text: textOf(path, method, operation) });
        }
      }
      content.append(section);
      menu.append(links);
    }
    const none = make('p', { hidden: '' }, 'No results.');
    content.append(none);
    search.addEventListener('input', () => {
      const wanted = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      const kept = new Set();
      for (const one of shown) {
        const matches = wanted.every((word) => one.text.includes(word));
        one.details.hidden = one.link.hidden = !matches;
        if (matches) kept.add(one.section).add(one.links);
      }
      for (const one of shown) one.section.hidden = one.links.hidden = !(kept.has(one.section));
      none.hidden = kept.size > 0;
    });
    // On a phone the menu is behind a button, and closes when something is chosen.
    const showMenu = (open) => {
      document.body.classList.toggle('menu-open', open);
      toggle.setAttribute('aria-expanded', String(open));
    };
    toggle.addEventListener('click', () => showMenu(toggle.getAttribute('aria-expanded') !== 'true'));
    menu.addEventListener('click', (event) => {
      if (event.target.closest('a')) showMenu(false);
    });
    document.addEventListener('keydown', (event) => {
      if (event.key === '/' && !event.target.closest('input, textarea')) {
        event.preventDefault();
        search.focus();
      }
    });
    const open = () => {
      const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
      if (!target) return;
      if (target.tagName === 'DETAILS') target.open = true;
      target.scrollIntoView();
    };
    addEventListener('hashchange', open);
    open();
  }

  // The page may lie below a prefix, with or without a slash at the end.
  const prefix = location.pathname.replace(/\/docs\/?$/, '');
  const address = prefix + '/api/v1/openapi.json';
  fetch(address)
    .then((response) => (response.ok ? response.json() : Promise.reject(new Error(response.statusText))))
    .then((document) => {
      api = document;
      build();
    })
    .catch((error) => content.replaceChildren(make('p', {}, `The description cannot be read: ${error.message}`)));
})();
