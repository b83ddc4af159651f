
'use strict';
// One request, as somebody would write it in three languages. The token stays out: each reads the variable TOKEN.
const samples = (() => {
  const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
  const quoted = (text) => JSON.stringify(text);

  // JSON, as the same literal in Python. Numbers and spaces stay as they are written.
  const LITERAL = { true: 'True', false: 'False', null: 'None' };
  const python = (json) => json.replace(/"(?:[^"\\]|\\.)*"|\b(?:true|false|null)\b/g, (part) =>
    LITERAL[part] || part.replace(/\\(.)/g, (escape, what) => (what === '/' ? '/' : escape)));

  const indented = (text, by) => text.replaceAll('\n', '\n' + ' '.repeat(by));

  return {
    curl({ method, url, auth, headers, body }) {
      const lines = [method === 'HEAD' ? `curl -I ${shell(url)}` : `curl -X ${method} ${shell(url)}`];
      if (auth) lines.push('-H "Authorization: Bearer $TOKEN"');
      for (const [name, value] of headers) lines.push(`-H ${shell(`${name}: ${value}`)}`);
      if (body) lines.push(`-d ${shell(body)}`);
      return lines.join(' \\\n  ');
    },
    Python({ method, url, auth, headers, body }) {
      const all = [...(auth ? ['"Authorization": "Bearer " + os.environ["TOKEN"]'] : []),
        ...headers.map(([name, value]) => `${quoted(name)}: ${quoted(value)}`)];
      return [`import ${body ? 'json, ' : ''}${auth ? 'os, ' : ''}urllib.request`, '', 'request = urllib.request.Request(',
        `    ${quoted(url)},`, `    method=${quoted(method)},`,
        ...(all.length ? [`    headers={${all.join(', ')}},`] : []),
        ...(body ? [`    data=json.dumps(${indented(python(body), 4)}).encode(),`] : []), ')',
        'with urllib.request.urlopen(request) as response:', '    print(response.status, response.read().decode())'].join('\n');
    },
    JavaScript({ method, url, auth, headers, body }) {
      const all = [...(auth ? ['Authorization: `Bearer ${process.env.TOKEN}`'] : []),
        ...headers.map(([name, value]) => `${quoted(name)}: ${quoted(value)}`)];
      return [`const response = await fetch(${quoted(url)}, {`, `  method: ${quoted(method)},`,
        ...(all.length ? [`  headers: { ${all.join(', ')} },`] : []),
        ...(body ? [`  body: JSON.stringify(${indented(body, 2)}),`] : []), '});',
        'console.log(response.status, await response.text());'].join('\n');
    },
  };
})();
