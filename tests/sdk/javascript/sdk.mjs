// The SDK as it is installed in a folder, with one set of names for its generations, and a record of
// what was walked. A scenario speaks the newest names; what a release does not have under that name, it has
// under the one below.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const OPERATIONS = {
  "application.upsert": "application.update",
  "connector.upsert": "connector.update",
  "backgroundTask.list": "backgroundTask.listByEndpoint",
  "endpoint.setHeaders": "endpoint.updateHeaders",
  "endpoint.upsert": "endpoint.update",
  "eventType.upsert": "eventType.update",
  "operationalWebhook.endpoint.setHeaders": "operationalWebhook.endpoint.updateHeaders",
  "operationalWebhook.endpoint.upsert": "operationalWebhook.endpoint.update",
  "operationalWebhookEndpoint.setHeaders": "operationalWebhookEndpoint.updateHeaders",
  "operationalWebhookEndpoint.upsert": "operationalWebhookEndpoint.update",
};
// Of all releases 1.x.
const FIELDS = { eventTypes: "filterTypes", throttleRate: "rateLimit" };

/** The packages of a folder that `npm install` has filled. */
export async function load(folder) {
  const require = createRequire(join(folder, "package.json"));
  const module = async (name) => {
    const loaded = await import(pathToFileURL(require.resolve(name)));
    return loaded.default ?? loaded;
  };
  const { version } = JSON.parse(readFileSync(join(folder, "node_modules/svix/package.json"), "utf8"));
  return { svix: await module("svix"), standardwebhooks: await module("standardwebhooks"), version };
}

/** One client. All clients of a scenario share one record of the operations that were walked. */
export class Sdk {
  constructor(installed, url, token, walked) {
    Object.assign(this, { installed, url, walked });
    this.isOld = installed.version.startsWith("1.");
    // It repeats nothing: a scenario wants to see the first answer. The first generation cannot be told.
    this.client = new installed.svix.Svix(token, { serverUrl: url, retryScheduleInMs: [] });
    this.isFirst = "api" in this.client.application;
    this.every = operations(this.client);
  }

  /** The same SDK with another token. */
  asCaller(token) {
    return new Sdk(this.installed, this.url, token, this.walked);
  }

  /** Whether this release has that operation, under either name. */
  offers(operation) {
    return this.every.includes(this.#name(operation));
  }

  /** Calls it as a caller of this release would, and records it once it has answered. */
  async call(operation, ...args) {
    const name = this.#name(operation);
    const parts = name.split(".");
    const method = parts.pop();
    const resource = parts.reduce((within, part) => within[part], this.client);
    const answer = await resource[method](...args);
    this.walked.add(name);
    return answer;
  }

  /** The fields of a request, as this release spells them. */
  model(fields) {
    if (!this.isOld) return fields;
    return Object.fromEntries(Object.entries(fields).map(([field, value]) => [FIELDS[field] ?? field, value]));
  }

  /** A field of an answer; null where it is absent. */
  read(answer, field) {
    return answer[this.isOld ? (FIELDS[field] ?? field) : field] ?? null;
  }

  #name(operation) {
    return this.every.includes(operation) ? operation : (OPERATIONS[operation] ?? operation);
  }
}

/** Every operation that the SDK has, by reflection: `application.create`, `message.poller.poll`, … */
export function operations(client) {
  // What the generated clients are made of, not operations.
  const inside = new Set(["constructor", "_configuration", "api", "requestCtx"]);
  const members = (target) => {
    const names = new Set();
    for (let at = target; at && at !== Object.prototype; at = Object.getPrototypeOf(at))
      for (const name of Object.getOwnPropertyNames(at)) if (!inside.has(name)) names.add(name);
    return [...names];
  };
  const below = (prefix, target) =>
    members(target).flatMap((name) => {
      const member = target[name];
      if (typeof member === "function") return prefix ? [prefix + name] : [];
      return member && typeof member === "object" ? below(`${prefix}${name}.`, member) : [];
    });
  return below("", client);
}
