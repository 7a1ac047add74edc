// The managed Node.js runtime: polls for an event, calls the handler, sends the response. One connection, kept alive.
import http from "node:http";
import { handle } from "./handler.mjs";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const PREFIX = "/2018-06-01/runtime/invocation";

function request(method, path, body) {
  return new Promise((resolve, reject) => {
    const sent = http.request({ host, port, agent, method, path }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ headers: response.headers, body: Buffer.concat(chunks) }));
      response.on("error", reject);
    });
    sent.on("error", reject);
    sent.end(body);
  });
}

for (;;) {
  const next = await request("GET", `${PREFIX}/next`);
  const id = next.headers["lambda-runtime-aws-request-id"];
  try {
    const response = await handle(JSON.parse(next.body), { awsRequestId: id });
    await request("POST", `${PREFIX}/${id}/response`, JSON.stringify(response));
  } catch (error) {
    console.error(error?.stack);
    const failure = { errorType: error?.name, errorMessage: error?.message };
    await request("POST", `${PREFIX}/${id}/error`, JSON.stringify(failure));
  }
}
