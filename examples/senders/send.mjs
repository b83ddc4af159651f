// Posts one event for one customer. It may be run again: nothing is created or sent twice.
// usage: TOKEN=… [WEBHOOK_SECRET=whsec_…] node send.mjs ENDPOINT_URL     (npm install svix)
import { Svix } from "svix";

const serverUrl = process.env.POSTRIDER_SERVER_URL ?? "http://127.0.0.1:8071";
const svix = new Svix(process.env.TOKEN, { serverUrl });

// An application is one of your customers; `uid` is your own name for it.
const app = await svix.application.getOrCreate({ name: "Acme", uid: "acme" });

// An endpoint is a URL of that customer, here with your own name as well. Upsert creates it, or updates it.
const endpoint = await svix.endpoint.upsert(app.uid, "main", { url: process.argv[2], uid: "main" });
const key = process.env.WEBHOOK_SECRET;
if (key && (await svix.endpoint.getSecret(app.uid, endpoint.uid)).key !== key) {
  await svix.endpoint.rotateSecret(app.uid, endpoint.uid, { key });
}

// Your own id of the event makes a repeated post harmless: it answers 409, and nothing is sent again.
const event = { eventType: "invoice.paid", eventId: "inv_1-paid", payload: { id: "inv_1", amount: 1200 } };
try {
  console.log("posted", (await svix.message.create(app.uid, event)).id);
} catch (refused) {
  if (refused.code !== 409) throw refused;
  console.log("posted earlier");
}
