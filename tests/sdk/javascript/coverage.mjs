// What of the SDK is walked, and what Postrider does not offer: other products and features than sending webhooks.

import assert from "node:assert/strict";

import { operations } from "./sdk.mjs";

const NOT_OFFERED_RESOURCES = [
  "autoconfigSubscription",
  "destination",
  "ingest",
  "streaming",
];
const NOT_OFFERED = [
  "authentication.getStreamPollerToken",
  "authentication.rotateStreamPollerToken",
  "authentication.streamExpireAll",
  "authentication.streamLogout",
  "authentication.streamPortalAccess",
  "endpoint.oauthDelete",
  "endpoint.oauthUpdate",
  "integration.getKey",
  "message.precheck",
];

/** Every operation of the SDK was walked or is listed above. Answers how many are of each kind. */
export function check(client, walked) {
  const every = operations(client);
  const leftOut = every.filter(
    (name) => NOT_OFFERED.includes(name) || NOT_OFFERED_RESOURCES.some((resource) => name.startsWith(`${resource}.`)),
  );
  assert.deepEqual(leftOut.filter((name) => walked.has(name)), [], "walked, but listed as not offered");
  const forgotten = every.filter((name) => !walked.has(name) && !leftOut.includes(name));
  assert.deepEqual(forgotten, [], "neither walked nor listed");
  return [walked.size, leftOut.length];
}
