// A receiver that verifies with the JavaScript library of Standard Webhooks, and answers 204, or 401 with the reason.

import { createServer } from "node:http";
import { createRequire } from "node:module";

const [secret, folder] = process.argv.slice(2);
const { Webhook } = createRequire(`${folder}/`)("standardwebhooks");
const webhook = new Webhook(secret);

const server = createServer(async (request, response) => {
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  try {
    webhook.verify(Buffer.concat(chunks).toString(), request.headers);
    response.writeHead(204).end();
  } catch (error) {
    response.writeHead(401).end(String(error));
  }
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
