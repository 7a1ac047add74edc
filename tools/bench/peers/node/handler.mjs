// The Twilio hook's job with the AWS SDK v3: check the signature, store the call, queue what it owes.
import { createHmac, timingSafeEqual } from "node:crypto";
import { DynamoDBClient, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { GetParametersByPathCommand, SSMClient } from "@aws-sdk/client-ssm";

const TABLE = process.env.CALLS_TABLE;
const QUEUE = process.env.ENRICH_QUEUE_URL;
const RETENTION_SECONDS = Number(process.env.RETENTION_DAYS ?? 400) * 86_400;
// Answering-machine results and recordings come within seconds of the end of a call.
const SETTLE_SECONDS = 3;

// Connections are kept alive: that is the SDK's default. So are three tries.
const config = { requestHandler: { connectionTimeout: 1_000, requestTimeout: 3_000 } };
const dynamodb = new DynamoDBClient(config);
const sqs = new SQSClient(config);

// Read once, before the first invocation.
const sources = await readSources();

async function readSources() {
  const ssm = new SSMClient(config);
  const sources = [];
  let NextToken;
  do {
    const page = await ssm.send(
      new GetParametersByPathCommand({
        Path: `${process.env.PARAMETER_PREFIX}/sources/twilio`,
        Recursive: true,
        WithDecryption: true,
        NextToken,
      }),
    );
    for (const parameter of page.Parameters ?? []) {
      const { secrets, public_url } = JSON.parse(parameter.Value);
      const name = parameter.Name.slice(parameter.Name.lastIndexOf("/") + 1);
      sources.push({ name, secrets, publicUrl: public_url });
    }
    NextToken = page.NextToken;
  } while (NextToken);
  ssm.destroy();
  return sources;
}

/** Answers one event of an API Gateway HTTP API (payload format 2.0). */
export async function handle(event, context) {
  const signature = event.headers["x-twilio-signature"];
  if (!signature) return reject(401, "X-Twilio-Signature is required", context);
  const body = Buffer.from(event.body ?? "", event.isBase64Encoded ? "base64" : "utf8");
  const parameters = [...new URLSearchParams(body.toString())];
  const target = event.rawQueryString ? `${event.rawPath}?${event.rawQueryString}` : event.rawPath;
  const source = findSource(target, parameters, signature);
  if (!source) return reject(403, "the signature does not match", context);

  const fields = new Map();
  for (const [name, value] of parameters) {
    if (value.trim() && !fields.has(name)) fields.set(name, value.trim());
  }
  const callId = fields.get("CallSid");
  if (!callId) return reject(400, "CallSid is required", context);

  const now = Date.now();
  const item = callItem(source.name, callId, fields, target, body, now);
  const call = `twilio/${source.name}/${callId}`;
  const isNew = await put(item);
  if (isNew && item.due_at) {
    const delay = SETTLE_SECONDS;
    const message = JSON.stringify({ job: "enrich", call });
    try {
      await sqs.send(
        new SendMessageCommand({ QueueUrl: QUEUE, MessageBody: message, DelaySeconds: delay }),
      );
    } catch (error) {
      // The item says that it is due: a sweep over it sends the message again.
      log("warn", "stored and not queued", { call, error: error.name, request_id: context.awsRequestId });
    }
  }
  log("info", isNew ? "call stored" : "duplicate", { call, request_id: context.awsRequestId });
  return answer(200, { accepted: isNew ? 1 : 0, duplicates: isNew ? 0 : 1 });
}

/** The source one of whose secrets made the signature. Every secret is tried, whichever fits. */
function findSource(target, parameters, signature) {
  const tail = signedTail(parameters);
  const sent = Buffer.from(signature);
  let found;
  for (const source of sources) {
    for (const secret of source.secrets) {
      const expected = Buffer.from(
        createHmac("sha1", secret).update(source.publicUrl + target + tail).digest("base64"),
      );
      if (expected.length === sent.length && timingSafeEqual(expected, sent)) found ??= source;
    }
  }
  return found;
}

/** Names and values, sorted by both, each pair once. */
function signedTail(parameters) {
  const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const sorted = parameters.toSorted((a, b) => order(a[0], b[0]) || order(a[1], b[1]));
  let tail = "";
  sorted.forEach(([name, value], n) => {
    const before = sorted[n - 1];
    if (before?.[0] !== name || before[1] !== value) tail += name + value;
  });
  return tail;
}

const STATES = {
  queued: "queued",
  initiated: "queued",
  ringing: "ringing",
  "in-progress": "in_progress",
  completed: "ended",
  busy: "ended",
  failed: "ended",
  "no-answer": "ended",
  canceled: "ended",
};

function callItem(source, callId, fields, target, body, now) {
  const status = fields.get("CallStatus");
  const state = STATES[status];
  const at = Date.parse(fields.get("Timestamp") ?? "");
  const item = {
    pk: { S: `call#twilio#${source}#${callId}` },
    sk: { S: "call" },
    received_at: { S: new Date(now).toISOString() },
    expires_at: { N: String(Math.floor(now / 1_000) + RETENTION_SECONDS) },
    target: { S: target },
    raw: { B: body },
  };
  const text = (name, value) => {
    if (value !== undefined) item[name] = { S: value };
  };
  const number = (name, value) => {
    if (/^\d+$/.test(value)) item[name] = { N: value };
  };
  text("state", state);
  text("status", status);
  text("at", Number.isNaN(at) ? undefined : new Date(at).toISOString());
  text("direction", fields.get("Direction"));
  text("from", fields.get("From") ?? fields.get("Caller"));
  text("to", fields.get("To") ?? fields.get("Called"));
  text("answered_by", fields.get("AnsweredBy"));
  text("parent", fields.get("ParentCallSid"));
  text("cause", fields.get("SipResponseCode"));
  text("recording_id", fields.get("RecordingSid"));
  text("recording_url", fields.get("RecordingUrl"));
  number("recording_seconds", fields.get("RecordingDuration"));
  number("talk_seconds", fields.get("CallDuration"));
  number("sequence", fields.get("SequenceNumber"));
  if (state === "ended" && !item.parent) {
    item.due_shard = { S: (callId.charCodeAt(callId.length - 1) % 16).toString().padStart(2, "0") };
    item.due_at = { N: String(now + SETTLE_SECONDS * 1_000) };
  }
  return item;
}

/** Stores a call if there is none. False: there is. */
async function put(item) {
  try {
    await dynamodb.send(
      new PutItemCommand({
        TableName: TABLE,
        Item: item,
        ConditionExpression: "attribute_not_exists(pk)",
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      }),
    );
    return true;
  } catch (error) {
    if (error.name === "ConditionalCheckFailedException") return false;
    throw error;
  }
}

function reject(status, error, context) {
  log("warn", "webhook rejected", { status, request_id: context.awsRequestId });
  return answer(status, { error });
}

function answer(statusCode, body) {
  const headers = { "content-type": "application/json" };
  return { statusCode, headers, body: JSON.stringify(body), isBase64Encoded: false };
}

function log(level, message, fields) {
  process.stdout.write(`${JSON.stringify({ level, message, ...fields })}\n`);
}
