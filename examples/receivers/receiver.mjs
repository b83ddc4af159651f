// Receives webhooks, verifies each signature and skips duplicates.
// usage: WEBHOOK_SECRET=whsec_… [PORT=9000] node receiver.mjs     (npm install standardwebhooks)
import { createServer } from "node:http";
import { Webhook } from "standardwebhooks";

const webhook = new Webhook(process.env.WEBHOOK_SECRET);
const seen = new Set(); // in a real receiver: a unique column beside what the event changes

createServer(async (request, response) => {
  let body = "";
  for await (const chunk of request.setEncoding("utf8")) body += chunk;
  try {
    webhook.verify(body, request.headers); // the raw body, before anything parses it
  } catch {
    return response.writeHead(400).end();
  }
  const message = request.headers["webhook-id"]; // the same in every attempt
  if (!seen.has(message)) {
    seen.add(message);
    console.log("received", JSON.parse(body).id, message);
  }
  response.writeHead(204).end();
}).listen(Number(process.env.PORT ?? 9000), "127.0.0.1");
