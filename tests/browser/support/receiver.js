// A receiver of webhooks, which answers as it is told.

import { createServer } from "node:http";

export async function startReceiver() {
  const seen = [];
  let answers = [];
  let otherwise = 200;
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const part of request) body += part;
    seen.push({ path: request.url, headers: request.headers, body });
    const status = answers.shift() ?? otherwise;
    response.writeHead(status, { "Content-Type": "text/plain" });
    response.end(status < 300 ? "thanks" : "the <b>database</b> is locked");
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return {
    url: `http://127.0.0.1:${server.address().port}`,
    seen,
    // These statuses first, one for each request, then the last argument for all.
    answer: (first, then = 200) => { answers = first; otherwise = then; },
    stop: () => { server.closeAllConnections(); return new Promise((done) => server.close(done)); },
  };
}
