// What the managed Node.js runtime does around a handler: ask for an event, hand it over, send the
// answer. One connection, kept alive.
import http from "node:http";
import { handle } from "./handler.mjs";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
const PREFIX = "/2018-06-01/runtime/invocation";

function request(method, path, body) {
  return new Promise((resolve, reject) => {
    const headers = body && {
      "content-type": "application/json",
      "content-length": Buffer.byteLength(body),
    };
    const asked = http.request({ host, port, agent, method, path, headers }, (answer) => {
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => resolve({ headers: answer.headers, body: Buffer.concat(chunks) }));
      answer.on("error", reject);
    });
    asked.on("error", reject);
    asked.end(body);
  });
}

for (;;) {
  const next = await request("GET", `${PREFIX}/next`);
  const id = next.headers["lambda-runtime-aws-request-id"];
  try {
    const context = { awsRequestId: id };
    const answer = await handle(JSON.parse(next.body), context);
    await request("POST", `${PREFIX}/${id}/response`, JSON.stringify(answer));
  } catch (error) {
    process.stderr.write(`${error?.stack}\n`);
    const failure = { errorType: error?.name, errorMessage: error?.message };
    await request("POST", `${PREFIX}/${id}/error`, JSON.stringify(failure));
  }
}
