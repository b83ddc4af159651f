// Walks every operation that an SDK has for what Postrider offers.
// usage: scenario.mjs FOLDER URL TOKEN    (the folder holds node_modules; the server retries once, after
// a second, and may reach 127.0.0.1)

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";

import { check } from "./coverage.mjs";
import { Receiver } from "./receiver.mjs";
import { load, Sdk } from "./sdk.mjs";

const [SUCCESS, FAIL, SENDING] = [0, 2, 3];
const [SCHEDULED, MANUAL] = [0, 1];
const PATIENCE_MS = 60_000;
const HOUR_MS = 3_600_000;
const CODE = "function handler(webhook) { return webhook; }";

const ago = (ms) => new Date(Date.now() - ms);
const key = (byte) => `whsec_${Buffer.alloc(24, byte).toString("base64")}`;
const ids = (entries) => entries.map((entry) => entry.id);

// An SDK that repeats what failed would hide it.
const serverErrors = [];
const fetched = globalThis.fetch;
globalThis.fetch = async (url, init) => {
  const response = await fetched(url, init);
  if (response.status >= 500) serverErrors.push(`${init?.method} ${url}: ${response.status}`);
  return response;
};

/** What `condition` answers once it answers something. */
async function eventually(what, condition) {
  const deadline = Date.now() + PATIENCE_MS;
  while (Date.now() < deadline) {
    const answer = await condition();
    if (answer) return answer;
    await sleep(50);
  }
  assert.fail(`${what}: not after ${PATIENCE_MS} ms`);
}

const [folder, url, token] = process.argv.slice(2);
const installed = await load(folder);
const walked = new Set();
const sdk = new Sdk(installed, url, token, walked);
const call = sdk.call.bind(sdk);
const read = sdk.read.bind(sdk);
const receiver = await new Receiver().start();
const content = { withContent: true };
let app, books, made, busy, broken, failing;

/** The SDK raises its own error for that status, with all that the caller should know. */
async function refused(status, expected, promise) {
  const error = await promise.then(() => assert.fail("not refused"), (error) => error);
  assert.ok(error instanceof installed.svix.ApiException, error);
  assert.equal(error.code, status, error);
  if (status === 422) {
    assert.deepEqual(error.body.detail.map((item) => item.loc), [expected]);
    assert.ok(error.body.detail[0].msg && error.body.detail[0].type, error);
  } else {
    if (expected) assert.equal(error.body.code, expected);
    assert.ok(error.body.detail, error);
  }
}

/** All entries of a list, page by page, then the last page backwards from its end. */
async function pages(operation, args, options) {
  const entries = [];
  let page = null;
  while (!page?.done) {
    const iterator = page ? { iterator: page.iterator } : {};
    page = await call(operation, ...args, { ...options, ...iterator });
    assert.ok(page.data.length <= options.limit);
    assert.ok(page.data.length > 0 || page.done);
    entries.push(...page.data);
  }
  assert.ok(page.iterator, "an iterator to poll with");
  assert.ok(page.prevIterator.startsWith("-"));
  const previous = await call(operation, ...args, { ...options, iterator: page.prevIterator });
  const first = entries.length - page.data.length;
  assert.deepEqual(previous.data, entries.slice(Math.max(0, first - options.limit), first), "the page before the last");
  return entries;
}

const endpoint = (path, fields = {}) =>
  call("endpoint.create", app, sdk.model({ url: receiver.url(path), ...fields }));

const message = (nth, fields = {}, options = {}) =>
  call("message.create", app, { eventType: "invoice.paid", payload: { nth }, ...fields }, options);

/** With the SDK's own verifier and with the specification's. */
function verify(webhook, secret, message, body) {
  assert.deepEqual(JSON.parse(webhook.body), body);
  assert.equal(webhook.headers["webhook-id"], message.id);
  new installed.svix.Webhook(secret).verify(webhook.body, webhook.headers);
  assert.deepEqual(new installed.standardwebhooks.Webhook(secret).verify(webhook.body, webhook.headers), body);
}

/** The attempts that a list shows once there are so many. */
async function attempts(count, operation, ...args) {
  const there = async () => {
    const { data } = await call(operation, app, ...args, { limit: 50, ...content });
    return data.length >= count ? data : null;
  };
  const found = await eventually(`${count} attempts`, there);
  assert.equal(found.length, count);
  return found;
}

async function health() {
  if (sdk.offers("health.get")) await call("health.get");
}

async function applications() {
  const given = { name: "Acme", uid: "acme", throttleRate: 100, metadata: { plan: "gold" } };
  const acme = await call("application.create", sdk.model(given));
  assert.match(acme.id, /^app_[0-9A-Za-z]{27}$/);
  for (const field in given) assert.deepEqual(read(acme, field), given[field]);
  assert.ok(Math.abs(Date.now() - acme.createdAt.getTime()) < HOUR_MS && acme.updatedAt >= acme.createdAt);
  await refused(409, "conflict", call("application.create", sdk.model(given)));
  await refused(422, ["body", "name"], call("application.create", { name: "" }));
  assert.deepEqual(await call("application.getOrCreate", sdk.model(given)), acme);
  for (const name of [acme.id, "acme"]) assert.deepEqual(await call("application.get", name), acme);

  const changed = await call("application.upsert", "acme", { name: "Acme & Sons", uid: "acme" });
  assert.deepEqual([changed.id, changed.name, changed.metadata], [acme.id, "Acme & Sons", {}]);
  assert.equal(read(changed, "throttleRate"), null);
  assert.deepEqual(changed.createdAt, acme.createdAt);
  const globex = await call("application.upsert", "globex", { name: "Globex", uid: "globex" });
  assert.notEqual(globex.id, acme.id);
  const patched = await call("application.patch", acme.id, { name: "Acme again", metadata: { plan: "tin" } });
  assert.deepEqual([patched.name, patched.uid, patched.metadata], ["Acme again", "acme", { plan: "tin" }]);

  const keyed = (idempotencyKey) => call("application.create", { name: "Once" }, { idempotencyKey });
  const [once, again, twice] = [await keyed("once"), await keyed("once"), await keyed("twice")];
  assert.deepEqual(once, again);
  assert.notEqual(once.id, twice.id);
  // The first generation writes `order=descending` as `0=d&1=e&…`, which says nothing.
  for (const order of sdk.isFirst ? ["ascending"] : ["ascending", "descending"]) {
    const found = ids(await pages("application.list", [], { limit: 2, order }));
    const sorted = [...found].sort();
    assert.deepEqual(found, order === "ascending" ? sorted : sorted.reverse());
    for (const one of [acme, globex, once, twice]) assert.ok(found.includes(one.id));
  }
  await call("application.delete", "globex");
  await refused(404, "not_found", call("application.get", globex.id));
  app = acme.id;
}

async function eventTypes() {
  const schemas = { 1: { type: "object", title: "paid", examples: [{ id: "inv_1" }, { id: "inv_2" }] } };
  const given = { name: "invoice.paid", description: "An invoice was paid", schemas };
  const paid = await call("eventType.create", given);
  for (const field in given) assert.deepEqual(paid[field], given[field]);
  assert.deepEqual([paid.archived, paid.deprecated], [false, false]);
  await refused(409, "conflict", call("eventType.create", given));
  await refused(422, ["body", "name"], call("eventType.create", { name: "in voice", description: "" }));
  assert.deepEqual(await call("eventType.get", "invoice.paid"), paid);

  let sent = await call("eventType.upsert", "invoice.sent", { description: "Was sent" });
  assert.deepEqual([sent.name, sent.description, read(sent, "schemas")], ["invoice.sent", "Was sent", null]);
  sent = await call("eventType.upsert", "invoice.sent", { description: "Was sent off" });
  assert.equal(sent.description, "Was sent off");
  sent = await call("eventType.patch", "invoice.sent", { deprecated: true });
  assert.deepEqual([sent.description, sent.deprecated], ["Was sent off", true]);
  const flag = sdk.isFirst ? { featureFlag: "beta" } : { featureFlags: ["beta"] };
  const hidden = await call("eventType.create", { name: "beta.thing", description: "Not for all", ...flag });
  assert.equal(hidden.featureFlag, "beta");

  if (sdk.offers("eventType.importOpenapi")) {
    const webhook = { post: { summary: "From a document" } };
    const spec = { openapi: "3.1.0", webhooks: { "invoice.paid": webhook } };
    const would = await call("eventType.importOpenapi", { spec, dryRun: true });
    assert.deepEqual(would.data.modified, ["invoice.paid"]);
    assert.equal(would.data.toModify[0].description, "From a document");
  }

  const names = (await pages("eventType.list", [], { limit: 1 })).map((entry) => entry.name);
  assert.deepEqual(names, ["beta.thing", "invoice.paid", "invoice.sent"]);
  const listed = async (withContent) => read((await call("eventType.list", { withContent })).data[1], "schemas");
  assert.deepEqual([await listed(true), await listed(false)], [schemas, null]);

  await call("eventType.delete", "invoice.sent");
  assert.equal((await call("eventType.list")).data.length, 2);
  const archived = (await call("eventType.list", { includeArchived: true })).data;
  assert.deepEqual(archived.map((entry) => entry.archived), [false, false, true]);
  const back = await call("eventType.create", { name: "invoice.sent", description: "Back" });
  assert.deepEqual([back.archived, back.description], [false, "Back"]);
  if (!sdk.isFirst) {
    await call("eventType.delete", "invoice.sent", { expunge: true });
    await refused(404, "not_found", call("eventType.get", "invoice.sent"));
  }
  await refused(404, "not_found", call("eventType.get", "no.such"));
}

async function environment() {
  if (!sdk.offers("environment.export")) return;
  const exported = await call("environment.export");
  const names = exported.eventTypes.map((entry) => entry.name);
  for (const name of ["beta.thing", "invoice.paid"]) assert.ok(names.includes(name));
  assert.deepEqual([exported.version, exported.connectors], [1, []]);
  const eventTypes = [{ name: "imported", description: "By a document" }];
  await call("environment.import", { eventTypes, settings: { displayName: "Acme" } });
  assert.equal((await call("eventType.get", "imported")).description, "By a document");
  assert.deepEqual((await call("environment.export")).settings, { displayName: "Acme" });
  await call("environment.import", { connectors: [{ name: "Imported", transformation: CODE }] });
  const [connector] = (await call("environment.export")).connectors;
  assert.deepEqual([connector.name, connector.transformation], ["Imported", CODE]);
  await call("connector.delete", connector.id);
  await call("eventType.delete", "imported", { expunge: true });
}

async function connectors() {
  if (!sdk.offers("connector.create")) return;
  const given = {
    name: "Slack",
    uid: "slack",
    logo: "https://example.com/slack.png",
    description: "Posts into a channel",
    kind: "Slack",
    instructions: "# Set up",
    allowedEventTypes: ["invoice.paid"],
    transformation: CODE,
    featureFlags: ["beta"],
    productType: "Dispatch",
  };
  const made = await call("connector.create", given);
  assert.match(made.id, /^trtmpl_[0-9A-Za-z]{27}$/);
  for (const [name, value] of Object.entries(given)) assert.deepEqual(made[name], value, name);
  await refused(409, "conflict", call("connector.create", given));
  const broken = { name: "Broken", transformation: "function broken {" };
  await refused(422, ["body", "transformation"], call("connector.create", broken));
  assert.deepEqual(await call("connector.get", "slack"), made);
  const patched = await call("connector.patch", "slack", { name: "S" });
  assert.deepEqual([patched.name, patched.logo], ["S", made.logo]);
  const put = await call("connector.upsert", "teams", { transformation: CODE });
  assert.deepEqual([put.uid, put.kind, put.name], ["teams", "Custom", ""]);
  assert.deepEqual(
    (await pages("connector.list", [], { limit: 1 })).map((entry) => entry.uid),
    ["slack", "teams"],
  );
  for (const uid of ["slack", "teams"]) await call("connector.delete", uid);
  await refused(404, "not_found", call("connector.get", made.id));
}

// Tokens are made by a request: the SDK's own way to one is not offered.
async function autoConfig() {
  const { AutoConfig, AutoConfigConsumer } = installed.svix;
  if (!AutoConfig) return;
  const own = (await call("application.create", { name: "Configures itself" })).id;
  const create = async () => {
    const response = await fetch(`${url}/api/v1/app/${own}/auto-config`, {
      method: "POST",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: "{}",
    });
    assert.equal(response.status, 200);
    return response.json();
  };
  const first = await create();
  const to = receiver.url("/configured");
  const configured = new AutoConfig(first.token, { url: to, eventTypes: ["invoice.paid"] });
  for (const _ of [1, 2]) {
    const made = await configured.subscribe();
    assert.deepEqual([made.id, made.url], [first.endpId, to]);
  }
  await call("message.create", own, { eventType: "invoice.paid", payload: { nth: 1 } });
  const webhook = await receiver.next("/configured");
  configured.verify(webhook.body, webhook.headers);
  assert.deepEqual(JSON.parse(webhook.body), { nth: 1 });

  const second = await create();
  assert.notEqual(second.endpId, first.endpId);
  const consumer = new AutoConfigConsumer(second.token, { eventTypes: ["invoice.paid"] });
  await consumer.subscribe();
  const given = (await consumer.receive("worker")).data;
  await call("message.create", own, { eventType: "invoice.paid", payload: { nth: 2 } });
  if (given.length) await consumer.commit("worker", given.at(-1).offset);
  const last = (await consumer.receive("worker")).data.at(-1);
  assert.deepEqual(last.payload, { nth: 2 });
  await consumer.commit("worker", last.offset);
  await call("application.delete", own);
}

async function endpoints() {
  const given = {
    description: "Books",
    uid: "books",
    eventTypes: ["invoice.paid"],
    channels: ["north"],
    metadata: { team: "books" },
    throttleRate: 50,
  };
  books = await endpoint("/books", { secret: key(1), ...given });
  assert.match(books.id, /^ep_[0-9A-Za-z]{27}$/);
  for (const field in given) assert.deepEqual(read(books, field), given[field]);
  assert.equal(books.disabled, false);
  await refused(422, ["body", "url"], call("endpoint.create", app, { url: "ftp://example.com/" }));
  await refused(404, "not_found", call("endpoint.get", app, "ep_none"));
  await refused(409, "conflict", endpoint("/books", { uid: "books" }));
  for (const name of [books.id, "books"]) assert.deepEqual(await call("endpoint.get", "acme", name), books);

  const put = { url: receiver.url("/v2"), description: "New", uid: "books" };
  const changed = await call("endpoint.upsert", app, "books", put);
  assert.deepEqual([changed.id, changed.description, changed.url], [books.id, "New", put.url]);
  for (const field of ["eventTypes", "channels"]) assert.equal(read(changed, field), null);
  const other = await call("endpoint.upsert", app, "other", { url: put.url, uid: "other", disabled: true });
  assert.ok(other.id !== books.id && other.disabled);
  const patch = { url: books.url, channels: ["north"], metadata: { team: "books" } };
  const patched = await call("endpoint.patch", app, "books", patch);
  assert.deepEqual([patched.description, patched.channels, patched.url], ["New", ["north"], books.url]);
  assert.deepEqual(ids(await pages("endpoint.list", [app], { limit: 1 })), [other.id, books.id], "newest first");
  await call("endpoint.delete", app, "other");
  await refused(404, "not_found", call("endpoint.get", app, other.id));

  const shown = async () => await call("endpoint.getHeaders", app, books.id);
  const headers = { "X-Tenant": "acme", Authorization: "Bearer hidden" };
  for (const [set, change] of [["setHeaders", "patchHeaders"], ["headersUpdate", "headersPatch"]]) {
    // The second pair are other names of the first, which only releases 1.x have.
    if (!sdk.offers(`endpoint.${set}`)) continue;
    await call(`endpoint.${set}`, app, books.id, { headers });
    assert.deepEqual((await shown()).headers, { "X-Tenant": "acme" });
    assert.deepEqual((await shown()).sensitive.map((name) => name.toLowerCase()), ["authorization"]);
    await call(`endpoint.${change}`, app, books.id, { headers: { "X-More": "1" } });
    assert.deepEqual((await shown()).headers, { "X-Tenant": "acme", "X-More": "1" });
    if (sdk.isFirst) continue;
    await call(`endpoint.${change}`, app, books.id, { headers: {}, deleteHeaders: ["X-More"] });
    assert.deepEqual((await shown()).headers, { "X-Tenant": "acme" });
  }
  assert.equal((await call("endpoint.getSecret", app, books.id)).key, key(1));
  await transformation();
}

/** Code that adds a header, under every name that releases have for it. */
async function transformation() {
  const code = "function handler(webhook) { webhook.headers = { 'X-Code': webhook.payload.nth + '' }; return webhook }";
  const get = ["endpoint.transformation.get", "endpoint.transformationGet"].find((name) => sdk.offers(name));
  assert.ok(!(await call(get, app, books.id)).enabled);
  for (const change of ["endpoint.transformation.patch", "endpoint.patchTransformation"]) {
    if (!sdk.offers(change)) continue;
    await call(change, app, books.id, { code, variables: { team: "books" } });
    await refused(422, ["body", "code"], call(change, app, books.id, { code: "function broken {" }));
  }
  await call("endpoint.transformationPartialUpdate", app, books.id, { code, enabled: true });
  const kept = await call(get, app, books.id);
  assert.deepEqual([kept.code, kept.enabled], [code, true]);
}

async function rotation() {
  await call("endpoint.rotateSecret", app, books.id, { key: key(2) });
  assert.equal((await call("endpoint.getSecret", app, books.id)).key, key(2));
  const first = await message(1, { channels: ["north"] });
  const webhook = await receiver.next("/books");
  assert.equal(webhook.headers["webhook-signature"].split(" ").length, 2);
  for (const secret of [key(1), key(2)]) verify(webhook, secret, first, { nth: 1 });
  const wrong = new installed.svix.Webhook(key(3));
  assert.throws(() => wrong.verify(webhook.body, webhook.headers), installed.svix.WebhookVerificationError);
  assert.equal(webhook.headers["x-tenant"], "acme");
  assert.equal(webhook.headers.authorization, "Bearer hidden");
}

async function messages() {
  const given = { eventId: "event-1", channels: ["north", "south"], tags: ["red"], payload: { nth: 2 } };
  made = await message(2, given, content);
  assert.match(made.id, /^msg_[0-9A-Za-z]{27}$/);
  assert.deepEqual([made.eventType, made.eventId, made.payload], ["invoice.paid", "event-1", { nth: 2 }]);
  assert.deepEqual([...made.channels].sort(), given.channels);
  verify(await receiver.next("/books"), key(2), made, { nth: 2 });
  await refused(409, "conflict", message(2, { eventId: "event-1" }));
  await refused(422, ["body", "eventType"], message(2, { eventType: "in voice" }));
  await refused(404, "not_found", call("message.get", app, "msg_none"));
  for (const name of [made.id, "event-1"]) assert.deepEqual(await call("message.get", app, name, content), made);
  if (!sdk.isFirst) assert.deepEqual((await call("message.get", app, made.id, { withContent: false })).payload, {});

  const raw = await call("message.create", app, {
    ...installed.svix.messageInRaw("invoice.paid", '{"raw":  1}'),
    channels: ["north"],
  });
  const webhook = await receiver.next("/books");
  assert.equal(webhook.body, '{"raw":  1}');
  verify(webhook, key(2), raw, { raw: 1 });

  const others = [await message(3), await message(4), await message(5)];
  const keyed = [await message(6, {}, { idempotencyKey: "m" }), await message(6, {}, { idempotencyKey: "m" })];
  assert.equal(keyed[0].id, keyed[1].id);
  const everything = ids(await pages("message.list", [app], { limit: 2, after: ago(HOUR_MS) }));
  for (const one of [made, raw, ...others, keyed[0]]) assert.ok(everything.includes(one.id));
  assert.deepEqual(ids((await call("message.list", app, { tag: "red" })).data), [made.id]);
  const south = await call("message.list", app, { channel: "south", ...content });
  assert.deepEqual(south.data, [made]);
  const none = await call("message.list", app, { eventTypes: ["beta.thing", "invoice.sent"], before: new Date() });
  assert.deepEqual([none.data, none.done], [[], true]);
  await refused(422, ["query", "limit"], call("message.list", app, { limit: 251 }));
}

async function attemptsAndResend() {
  const [attempt] = await attempts(1, "messageAttempt.listByMsg", made.id);
  assert.deepEqual([attempt.status, attempt.responseStatusCode, attempt.response], [SUCCESS, 200, "thanks"]);
  assert.deepEqual([attempt.msgId, attempt.endpointId, attempt.url], [made.id, books.id, books.url]);
  assert.equal(attempt.triggerType, SCHEDULED);
  const shown = await call("messageAttempt.get", app, made.id, attempt.id);
  assert.deepEqual([shown.id, shown.status, shown.timestamp], [attempt.id, attempt.status, attempt.timestamp]);
  await refused(404, "not_found", call("messageAttempt.get", app, made.id, "atmpt_none"));

  await call("messageAttempt.resend", app, made.id, books.id);
  verify(await receiver.next("/books"), key(2), made, { nth: 2 });
  const again = await attempts(2, "messageAttempt.listByMsg", made.id);
  assert.deepEqual(again.map((each) => each.triggerType).sort(), [SCHEDULED, MANUAL]);

  [busy, broken] = [await endpoint("/busy"), await endpoint("/broken")];
  failing = await message(7);
  const failed = await attempts(2, "messageAttempt.listByEndpoint", broken.id);
  for (const each of failed) assert.deepEqual([each.status, each.responseStatusCode], [FAIL, 500]);

  // An attempt is listed a moment before the delivery's state speaks of it: the state is waited for, too.
  const to = await eventually("a next attempt at one, none at the other", async () => {
    const { data } = await call("messageAttempt.listAttemptedDestinations", app, failing.id, { limit: 50 });
    const found = Object.fromEntries(data.map((entry) => [entry.id, entry]));
    const settled = read(found[busy.id], "nextAttempt") && !read(found[broken.id], "nextAttempt");
    return settled && found[broken.id].status !== SENDING ? found : null;
  });
  assert.deepEqual(Object.keys(to).sort(), [busy.id, broken.id].sort(), "not the endpoint with a channel");
  assert.equal(to[busy.id].status, SENDING, "it is tried again after a minute");
  assert.ok(to[busy.id].nextAttempt > new Date() && to[busy.id].url === busy.url);
  assert.equal(to[broken.id].status, FAIL, "its policy is used up");

  const ofEndpoint = ids(await pages("messageAttempt.listByEndpoint", [app, books.id], { limit: 2 }));
  for (const each of again) assert.ok(ofEndpoint.includes(each.id));
  const count = async (options) => (await call("messageAttempt.listByEndpoint", app, broken.id, options)).data.length;
  assert.deepEqual([await count({ status: FAIL }), await count({ status: SUCCESS })], [2, 0]);
  assert.deepEqual([await count({ statusCodeClass: 500 }), await count({ statusCodeClass: 400 })], [2, 0]);
  assert.equal(await count({ eventTypes: ["beta.thing"] }), 0);
  assert.equal(await count({ before: ago(-HOUR_MS / 2), after: ago(HOUR_MS) }), 2);
  const attempted = await call("messageAttempt.listAttemptedMessages", app, broken.id, { status: FAIL });
  assert.deepEqual(attempted.data.map((entry) => [entry.id, entry.status]), [[failing.id, FAIL]]);
  assert.ok(ids(await pages("messageAttempt.listAttemptedMessages", [app, books.id], { limit: 1 })).includes(made.id));
  if (sdk.offers("messageAttempt.list"))
    assert.deepEqual(ids((await call("messageAttempt.list", app, made.id)).data).sort(), ids(again).sort());

  const stats = await call("endpoint.getStats", app, broken.id, { since: ago(HOUR_MS) });
  assert.deepEqual([stats.success, stats.fail, stats.pending, stats.sending], [0, 1, 0, 0]);
  assert.equal((await call("endpoint.getStats", app, busy.id)).pending, 1);
}

async function replays() {
  const since = ago(HOUR_MS);
  receiver.mended = true;
  for (const _ of "ab") await receiver.next("/broken");
  let task = await call("endpoint.recover", app, broken.id, { since });
  assert.match(task.id, /^qtask_/);
  assert.equal(task.task, "endpoint.recover");
  assert.equal((await receiver.next("/broken")).headers["webhook-id"], failing.id);
  await finished(task);
  const tooLong = { since: ago(15 * 24 * HOUR_MS) };
  await refused(422, ["body", "since"], call("endpoint.recover", app, broken.id, tooLong));

  const late = await endpoint("/late", { eventTypes: ["invoice.paid"] });
  task = await call("endpoint.replayMissing", app, late.id, { since });
  assert.equal(task.task, "endpoint.replay");
  const everything = ids(await pages("message.list", [app], { limit: 50 })).sort();
  const arrived = [];
  for (const _ of everything) arrived.push((await receiver.next("/late")).headers["webhook-id"]);
  assert.deepEqual(arrived.sort(), everything);
  await finished(task);
  if (sdk.offers("endpoint.bulkReplay")) {
    task = await call("endpoint.bulkReplay", app, late.id, { since, channel: "south" });
    assert.equal(task.task, "endpoint.bulk-replay");
    assert.equal((await receiver.next("/late")).headers["webhook-id"], made.id);
    await finished(task);
  }
  await call("endpoint.delete", app, late.id);
}

async function finished(task) {
  const done = await eventually("the task", async () => {
    const now = await call("backgroundTask.get", task.id);
    return now.status === "finished" ? now : null;
  });
  assert.deepEqual([done.id, done.task, typeof done.data], [task.id, task.task, "object"]);
  assert.ok(ids(await pages("backgroundTask.list", [], { limit: 1 })).includes(task.id));
  // Some releases have it under two names.
  if (sdk.offers("backgroundTask.listByEndpoint")) await call("backgroundTask.listByEndpoint", { limit: 1 });
  const filtered = await call("backgroundTask.list", { task: task.task, status: done.status });
  assert.ok(ids(filtered.data).includes(task.id));
  await refused(404, "not_found", call("backgroundTask.get", "qtask_none"));
}

async function examples() {
  const example = await call("endpoint.sendExample", app, books.id, { eventType: "invoice.paid" });
  assert.equal(example.eventType, "invoice.paid");
  verify(await receiver.next("/books"), key(2), example, { id: "inv_1" });
  const without = call("endpoint.sendExample", app, books.id, { eventType: "beta.thing" });
  await refused(422, ["body", "eventType"], without);
}

async function erasure() {
  const found = await call("messageAttempt.listByMsg", app, made.id, content);
  const attempt = found.data.find((each) => each.endpointId === books.id);
  assert.equal(attempt.response, "thanks");
  await call("messageAttempt.expungeContent", app, made.id, attempt.id);
  const left = await call("messageAttempt.get", app, made.id, attempt.id);
  assert.ok(!left.response.includes("thanks") && left.responseStatusCode === 200);
  await call("message.expungeContent", app, made.id);
  assert.deepEqual((await call("message.get", app, made.id, content)).payload, { expired: true });
}

async function usage() {
  const hidden = (await message(77)).id;
  if (sdk.offers("statistics.aggregateAppStats")) {
    const window = { since: ago(HOUR_MS), until: new Date(), appIds: [app, "none"] };
    const task = await call("statistics.aggregateAppStats", window);
    if (task.unresolvedAppIds) assert.deepEqual(task.unresolvedAppIds, ["none"]);
    await finished(task);
  }
  if (sdk.offers("statistics.aggregateEventTypes")) await finished(await call("statistics.aggregateEventTypes"));
  if (sdk.offers("message.bulkExpungeContent")) {
    const { results } = await call("message.bulkExpungeContent", app, { ids: [hidden, "none"] });
    assert.deepEqual(results, { [hidden]: "expunged", none: "not-found" });
  }
  if (sdk.offers("message.expungeAllContents")) await finished(await call("message.expungeAllContents", app));
}

async function authentication() {
  const access = await call("authentication.appPortalAccess", app, {});
  assert.ok(access.url.startsWith("http") && access.token);
  const portal = sdk.asCaller(access.token);
  assert.ok(ids((await portal.call("endpoint.list", app)).data).includes(books.id));
  await refused(403, null, portal.call("application.create", { name: "Mine" }));
  const other = await call("application.create", { name: "Other" });
  await refused(404, "not_found", portal.call("application.get", other.id));
  const seen = async (caller) => (await caller.call("eventType.list")).data.map((entry) => entry.name);
  assert.ok(!(await seen(portal)).includes("beta.thing"));
  const flagged = sdk.asCaller((await call("authentication.appPortalAccess", app, { featureFlags: ["beta"] })).token);
  assert.ok((await seen(flagged)).includes("beta.thing"));
  const application = { name: "New", uid: "portal-made" };
  assert.ok((await call("authentication.appPortalAccess", "portal-made", { application })).token);
  assert.equal((await call("application.get", "portal-made")).name, "New");
  await portal.call("authentication.logout");
  if (sdk.offers("authentication.dashboardAccess")) {
    const dashboard = await call("authentication.dashboardAccess", app);
    assert.ok(dashboard.url.startsWith("http"));
    assert.equal((await sdk.asCaller(dashboard.token).call("application.get", app)).id, app);
  }
  await call("authentication.expireAll", app, {});
  await refused(401, "authentication_failed", flagged.call("endpoint.list", app));
  await refused(401, "authentication_failed", sdk.asCaller("x.y.z").call("application.list"));
}

async function polling() {
  if (!sdk.offers("message.poller.poll")) return;
  const polled = (await call("application.create", { name: "Polled" })).id;
  // The SDK's own model of an endpoint wants a URL.
  const response = await fetch(`${url}/api/v1/app/${polled}/endpoint`, {
    method: "POST",
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: JSON.stringify({ destination: { kind: "polling" } }),
  });
  assert.equal(response.status, 201);
  const sink = (await response.json()).id;
  const poll = (options) => call("message.poller.poll", polled, sink, options);
  const begin = await poll();
  assert.ok(begin.data.length === 0 && begin.iterator && !begin.done);
  const posted = [];
  for (const nth of [0, 1, 2])
    posted.push((await call("message.create", polled, { eventType: "invoice.paid", payload: { nth } })).id);
  let page = await poll({ iterator: begin.iterator, limit: 2 });
  assert.deepEqual([ids(page.data), page.done], [posted.slice(0, 2), false]);
  assert.deepEqual([page.data[1].payload, page.data[1].eventType], [{ nth: 1 }, "invoice.paid"]);
  page = await poll({ iterator: page.iterator });
  assert.deepEqual([ids(page.data), page.done], [posted.slice(2), true]);
  assert.deepEqual((await poll({ iterator: page.iterator })).data, []);
  await refused(422, ["query", "iterator"], poll({ iterator: "invented" }));
  const consume = (options) => call("message.poller.consumerPoll", polled, sink, "worker", options);
  const first = await consume({ limit: 1 });
  assert.deepEqual(ids(first.data), posted.slice(0, 1));
  assert.deepEqual(ids((await consume({ iterator: first.iterator })).data), posted.slice(1));
  assert.deepEqual(ids((await consume()).data), posted.slice(1));
  assert.ok((await call("message.poller.consumerSeek", polled, sink, "worker", { after: ago(HOUR_MS) })).iterator);
  assert.deepEqual(ids((await consume()).data), posted);
}

async function told() {
  // Releases 1.x have them under two names.
  for (const of of ["operationalWebhook.endpoint", "operationalWebhookEndpoint"])
    if (sdk.offers(`${of}.list`)) await toldBy(of);
}

async function toldBy(of) {
  const ask = (operation, ...args) => call(`${of}.${operation}`, ...args);
  const given = sdk.model({ url: receiver.url("/told"), uid: "told", eventTypes: ["endpoint.created"] });
  const made = await ask("create", { ...given, secret: key(1) });
  assert.match(made.id, /^ep_[0-9A-Za-z]{27}$/);
  assert.deepEqual(read(made, "eventTypes"), ["endpoint.created"]);
  await refused(409, "conflict", ask("create", given));
  assert.deepEqual(await ask("get", "told"), made);
  assert.ok(ids((await ask("list", { limit: 10 })).data).includes(made.id));
  const changed = await ask("upsert", made.id, { ...given, description: "On call" });
  assert.deepEqual([changed.id, changed.description], [made.id, "On call"]);
  if (sdk.offers(`${of}.setHeaders`)) {
    await ask("setHeaders", "told", { headers: { "x-team": "red" } });
    assert.deepEqual((await ask("getHeaders", "told")).headers, { "x-team": "red" });
  }
  assert.equal((await ask("getSecret", "told")).key, key(1));
  await ask("rotateSecret", "told", { key: key(2) });
  assert.equal((await ask("getSecret", "told")).key, key(2));
  const watched = (await call("application.create", { name: "Watched" })).id;
  await call("endpoint.create", watched, { url: receiver.url("/watched") });
  let webhook = await receiver.next("/told");
  // What happened just before may come, too.
  while (JSON.parse(webhook.body).data.appId !== watched) webhook = await receiver.next("/told");
  for (const secret of [key(1), key(2)]) new installed.svix.Webhook(secret).verify(webhook.body, webhook.headers);
  await ask("delete", "told");
  await refused(404, "not_found", ask("get", made.id));
}

async function integrations() {
  const made = await call("integration.create", app, { name: "Zap", featureFlags: ["beta"] });
  assert.match(made.id, /^integ_[0-9A-Za-z]{27}$/);
  assert.equal(made.name, "Zap");
  assert.deepEqual(await call("integration.get", app, made.id), made);
  assert.deepEqual(ids(await pages("integration.list", [app], { limit: 1 })), [made.id]);
  const changed = await call("integration.update", app, made.id, { name: "Zapped" });
  assert.deepEqual([changed.id, changed.name], [made.id, "Zapped"]);
  const keys = [];
  for (const _ of [1, 2]) keys.push((await call("integration.rotateKey", app, made.id)).key);
  await refused(401, "authentication_failed", sdk.asCaller(keys[0]).call("endpoint.list", app));
  const bearer = sdk.asCaller(keys[1]);
  assert.equal((await bearer.call("application.get", app)).id, app);
  await call("integration.delete", app, made.id);
  await refused(401, "authentication_failed", bearer.call("endpoint.list", app));
  await refused(404, "not_found", call("integration.get", app, made.id));
}

async function coverage() {
  const [covered, leftOut] = check(sdk.client, walked);
  // What is not offered says so.
  if (sdk.client.streaming) await refused(404, null, sdk.client.streaming.stream.list());
  assert.deepEqual(serverErrors, []);
  console.log(`javascript svix ${installed.version}: ${covered} operations covered, ${leftOut} not offered`);
}

const sections = {
  health,
  applications,
  eventTypes,
  environment,
  connectors,
  autoConfig,
  endpoints,
  rotation,
  messages,
  attemptsAndResend,
  replays,
  examples,
  erasure,
  usage,
  authentication,
  polling,
  told,
  integrations,
  coverage,
};
for (const [name, section] of Object.entries(sections)) {
  try {
    await section();
  } catch (error) {
    console.log(`in ${name}:`);
    throw error;
  }
}
