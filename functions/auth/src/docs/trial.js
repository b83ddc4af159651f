
// Fills in an operation's parameters and body, shows the request in three languages, and sends it.
const trial = (() => {
  const SHOWN_MAX = 100000;
  const WAIT_MS = 35000;
  // What was filled in goes with one from operation to operation; it is nowhere but in this page.
  const known = new Map();
  let language = 'curl';
  const refreshes = new Set();

  class Wrong extends Error {}

  // The request that the fields make up. Throws what is wrong with them, in words.
  function request({ base, path, method, parts, area, auth, strict }) {
    let url = path;
    const query = new URLSearchParams();
    const headers = [];
    for (const { parameter, input } of parts) {
      const value = input.value;
      const { name } = parameter;
      if (parameter.in === 'path') {
        // Browsers take these out of an address: it would be another operation's.
        if (strict && (value === '.' || value === '..')) throw new Wrong(`${name}: "${value}" cannot stand in a path.`, { cause: input });
        if (strict && !value) throw new Wrong(`Fill in ${name}.`, { cause: input });
        if (value) url = url.replace(`{${name}}`, encodeURIComponent(value));
      } else if (value && parameter.in === 'query') query.append(name, value);
      else if (value) headers.push([name, value]);
    }
    const body = area ? area.value.trim() : '';
    if (body) {
      if (strict) {
        try {
          JSON.parse(body);
        } catch (error) {
          throw new Wrong(`The body is not valid JSON: ${error.message}`, { cause: area });
        }
      }
      headers.push(['Content-Type', 'application/json']);
    }
    const search = query.toString();
    return { method: method.toUpperCase(), url: base + url + (search && '?' + search), auth, headers, body };
  }

  // JSON with indents, where that changes no number and no name.
  function pretty(text) {
    try {
      const value = JSON.parse(text);
      return JSON.stringify(value) === text ? JSON.stringify(value, null, 2) : text;
    } catch {
      return text;
    }
  }

  function cut(text) {
    return text.length > SHOWN_MAX ? `${text.slice(0, SHOWN_MAX)}\n… ${text.length - SHOWN_MAX} more characters` : text;
  }

  async function send(token, { method, url, auth, headers, body }) {
    const begun = performance.now();
    const sent = new Headers(headers);
    if (auth) sent.set('Authorization', `Bearer ${token}`);
    const response = await fetch(url, {
      method, headers: sent, body: body || undefined, cache: 'no-store', credentials: 'omit', redirect: 'manual', signal: AbortSignal.timeout(WAIT_MS),
    });
    const text = await response.text();
    return { status: response.status, text, headers: [...response.headers], ms: Math.round(performance.now() - begun) };
  }

  // `make` makes an element, `token` is the field that has the token.
  return function block({ make, token, base, path, method, operation, example, resolved }) {
    const auth = operation.security.length > 0;
    const id = (name) => `${operation.operationId}-${name}`;
    const part = (parameter) => {
      const schema = resolved(parameter.schema);
      const input = make('input', { id: id(parameter.name), autocomplete: 'off', spellcheck: 'false', placeholder: schema.enum ? schema.enum.join(' or ') : schema.type });
      input.value = (parameter.in === 'path' && known.get(parameter.name)) || '';
      input.addEventListener('input', () => {
        if (parameter.in === 'path') known.set(parameter.name, input.value);
      });
      return { parameter, input, row: make('div', { class: 'field' }, make('label', { for: input.id }, make('code', {}, parameter.name)), input) };
    };
    const parts = (operation.parameters || []).map(part);
    const [first, optional] = [true, false].map((wanted) => parts.filter((one) => (one.parameter.in === 'path') === wanted));
    const area = operation.requestBody && make('textarea', { id: id('body'), rows: '8', spellcheck: 'false' });
    if (area && example !== undefined) area.value = JSON.stringify(example, null, 2);

    const code = make('code', {});
    const tabs = Object.keys(samples).map((name) => make('button', { type: 'button', 'aria-pressed': 'false' }, name));
    const wanted = (strict) => request({ base, path, method, parts, area, auth, strict });
    const refresh = () => {
      code.textContent = samples[language](wanted(false));
      for (const tab of tabs) tab.setAttribute('aria-pressed', String(tab.textContent === language));
    };
    refreshes.add(refresh);
    for (const tab of tabs) {
      tab.addEventListener('click', () => {
        language = tab.textContent;
        for (const each of refreshes) each();
      });
    }
    const copy = make('button', { type: 'button' }, 'Copy');
    copy.hidden = !navigator.clipboard;
    copy.addEventListener('click', async () => {
      const copied = await navigator.clipboard.writeText(code.textContent).then(() => true, () => false);
      copy.textContent = copied ? 'Copied' : 'Not allowed';
      setTimeout(() => (copy.textContent = 'Copy'), 2000);
    });

    const button = make('button', { type: 'button', class: 'send' }, 'Send');
    const result = make('div', { class: 'result', role: 'status' });
    const say = (...children) => result.replaceChildren(...children);
    const refuse = (text, where) => {
      say(make('p', { class: 'wrong' }, text));
      where.focus();
    };
    button.addEventListener('click', async () => {
      let it;
      try {
        it = wanted(true);
      } catch (error) {
        if (!(error instanceof Wrong)) throw error;
        return refuse(error.message, error.cause);
      }
      const bearer = token.value.trim();
      if (auth && !bearer) return refuse('Put a token into the field at the top first.', token);
      if (auth && !/^[\x21-\x7e]+$/.test(bearer)) return refuse('The token has characters that no token has.', token);
      if (it.method === 'DELETE' && !confirm(`Send DELETE ${it.url}?`)) return say(make('p', {}, 'Not sent.'));
      button.disabled = true;
      say(make('p', {}, 'Sending …'));
      try {
        const { status, text, headers, ms } = await send(bearer, it);
        say(make('p', {}, make('code', { class: status < 400 ? 'good' : 'wrong' }, String(status)), ` in ${ms} ms, ${text.length} characters`),
          ...(text ? [make('pre', { tabindex: '0' }, make('code', {}, cut(pretty(text))))] : []),
          make('details', {}, make('summary', {}, 'Response headers'), make('pre', { tabindex: '0' }, make('code', {}, headers.map((pair) => pair.join(': ')).join('\n')))));
      } catch (error) {
        say(make('p', { class: 'wrong' }, error.name === 'TimeoutError' ? 'No response within 35 seconds.' : `No response: ${error.message}`));
      }
      button.disabled = false;
    });

    const block = make('div', { class: 'trial' },
      make('h3', {}, 'Try it'), first.map(({ row }) => row),
      optional.length ? make('details', {}, make('summary', {}, 'Optional parameters'), optional.map(({ row }) => row)) : undefined,
      area ? [make('label', { for: area.id }, 'Body'), area] : undefined,
      make('div', { class: 'bar' }, button, tabs, copy), make('pre', { tabindex: '0', class: 'sample' }, code), result);
    block.addEventListener('input', refresh);
    refresh();
    return block;
  };
})();
