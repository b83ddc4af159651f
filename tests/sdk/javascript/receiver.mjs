// A customer's server on a free port of 127.0.0.1, which keeps what it gets.
// `/broken…` answers 500 until it is mended, `/busy…` answers 502 for ever, all else 200.

import { createServer } from "node:http";
import { text } from "node:stream/consumers";

// Longer than any delivery takes; what hits it is lost, not slow.
const PATIENCE_MS = 60_000;

export class Receiver {
  mended = false;
  #arrived = new Map();
  #server = createServer(async (request, response) => {
    const webhook = { path: request.url, headers: request.headers, body: await text(request) };
    response.writeHead(this.#status(request.url)).end("thanks");
    const { waiting, kept } = this.#at(request.url);
    if (waiting.length) waiting.shift()(webhook);
    else kept.push(webhook);
  });

  async start() {
    await new Promise((started) => this.#server.listen(0, "127.0.0.1", started));
    this.#server.unref();
    return this;
  }

  url(path) {
    return `http://127.0.0.1:${this.#server.address().port}${path}`;
  }

  /** The next webhook that comes to `path`. */
  async next(path) {
    const { waiting, kept } = this.#at(path);
    if (kept.length) return kept.shift();
    return await new Promise((resolve, reject) => {
      const late = () => reject(new Error(`no webhook at ${path} after ${PATIENCE_MS} ms`));
      const timer = setTimeout(late, PATIENCE_MS);
      waiting.push((webhook) => (clearTimeout(timer), resolve(webhook)));
    });
  }

  #status(path) {
    if (path.startsWith("/broken") && !this.mended) return 500;
    return path.startsWith("/busy") ? 502 : 200;
  }

  #at(path) {
    if (!this.#arrived.has(path)) this.#arrived.set(path, { waiting: [], kept: [] });
    return this.#arrived.get(path);
  }
}
