// The real runner in memory, and real receivers: whatever a test sees has been through all of it.
import { spawn } from 'node:child_process';
import http from 'node:http';

const PATIENCE = 30_000;

/** What `find` gives once it gives something. */
export async function eventually(what, find, patience = PATIENCE) {
  const end = Date.now() + patience;
  for (;;) {
    const found = await find();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not within ${patience / 1000} s`);
    await new Promise((go) => setTimeout(go, 50));
  }
}

export function listen(server) {
  return new Promise((go) => server.listen(0, '127.0.0.1', () => go(`http://127.0.0.1:${server.address().port}`)));
}

/** Starts the program `postrider`. */
export class Stack {
  static async start(program, ...flags) {
    const own = (name, ...others) => (flags.some((flag) => name.includes(flag)) ? [] : others);
    const all = ['dev', ...own(['--data'], '--ephemeral'), ...own(['--listen'], '--listen', '127.0.0.1:0'), ...own(['--retry-schedule'], '--retry-schedule', '1,4'), ...own(['--delivery-timeout'], '--delivery-timeout', '2'), ...flags];
    const child = spawn(program, all, { stdio: ['ignore', 'pipe', 'pipe'], env: { PATH: process.env.PATH } });
    let out = '';
    let log = '';
    child.stdout.on('data', (bytes) => (out += bytes));
    child.stderr.on('data', (bytes) => (log = (log + bytes).slice(-20_000)));
    const stack = new Stack();
    stack.child = child;
    await eventually('the runner', () => {
      if (child.exitCode !== null) throw new Error(`the runner ended\n${log}`);
      return /^export TOKEN=.*$/m.test(out);
    });
    stack.link = /^http:\S+\/login#key=\S+$/m.exec(out)[0];
    stack.url = /^Postrider listens on (\S+)/m.exec(out)[1];
    stack.token = /^export TOKEN=(\S+)$/m.exec(out)[1];
    return stack;
  }

  stop() {
    return new Promise((go) => {
      this.child.once('exit', go);
      this.child.kill('SIGTERM');
      setTimeout(() => this.child.kill('SIGKILL'), 20_000).unref();
    });
  }

  /** A request with the organisation's token, or another one. What fails, throws. */
  async api(method, path, body, token = this.token) {
    const { status, value, text } = await this.ask(method, path, body, token);
    if (status >= 300) throw new Error(`${method} ${path}: ${status} ${text}`);
    return value;
  }

  async ask(method, path, body, token = this.token) {
    const headers = { authorization: `Bearer ${token}`, 'content-type': 'application/json' };
    const answer = await fetch(`${this.url}/api/v1${path}`, { method, headers, body: body === undefined ? undefined : JSON.stringify(body) });
    const text = await answer.text();
    return { status: answer.status, text, value: text ? JSON.parse(text) : null };
  }

  /** A customer's link to an application. */
  async linkTo(app, options = {}) {
    const { url, token } = await this.api('POST', `/auth/app-portal-access/${app}`, options);
    return { url, token };
  }
}

/** Receivers, by their paths: each fails in its own way. */
export class Receivers {
  static async start() {
    const all = new Receivers();
    all.got = [];
    all.broken = new Set();
    all.byPath = new Map();
    all.server = http.createServer((request, response) => {
      const chunks = [];
      request.on('data', (chunk) => chunks.push(chunk));
      request.on('end', () => {
        const path = new URL(request.url, 'http://x').pathname;
        all.got.push({ path, headers: request.headers, body: Buffer.concat(chunks).toString() });
        all.ids(path).add(request.headers['webhook-id']);
        all.answer(path.slice(1), response);
      });
    });
    all.url = await listen(all.server);
    return all;
  }

  /** The messages that came to a path. */
  ids(path) {
    if (!this.byPath.has(path)) this.byPath.set(path, new Set());
    return this.byPath.get(path);
  }

  answer(name, response) {
    const say = (status, type, body) => response.writeHead(status, { 'content-type': type, 'x-served-by': 'receiver' }).end(body);
    if (this.broken.has(name)) return say(503, 'text/plain', 'out of order');
    switch (name.split('-')[0]) {
      case 'fail': return say(500, 'application/json', '{"error":"on purpose"}');
      case 'hang': return undefined;
      case 'gone': return say(410, 'text/plain', 'gone');
      case 'binary': return say(400, 'application/octet-stream', Buffer.from([0, 1, 2, 0xff, 0xfe, 0x80]));
      case 'script': return say(400, 'text/html', '<script>document.title = "run"</script><img src=x onerror="document.title=1">');
      default: return say(200, 'text/plain', 'thank you');
    }
  }

  stop() {
    this.server.closeAllConnections();
    return new Promise((go) => this.server.close(go));
  }
}
