// The Twilio hook's job with the AWS SDK v3: check the signature, store the call, queue its follow-up.
import { createHmac, timingSafeEqual } from "node:crypto";
import { DynamoDBClient, PutItemCommand } from "@aws-sdk/client-dynamodb";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { GetParametersByPathCommand, SSMClient } from "@aws-sdk/client-ssm";

const { CALLS_TABLE, ENRICH_QUEUE_URL, PARAMETER_PREFIX, RETENTION_DAYS } = process.env;
const RETENTION_SECONDS = Number(RETENTION_DAYS ?? 400) * 86_400;
// Answering-machine results and recordings come within seconds of the end of a call.
const SETTLE_SECONDS = 3;

// Connections are kept alive: that is the SDK's default. So are three attempts.
const config = { requestHandler: { connectionTimeout: 1_000, requestTimeout: 3_000 } };
const dynamodb = new DynamoDBClient(config);
const sqs = new SQSClient(config);

// Read once, before the first invocation.
const sources = await readSources();

async function readSources() {
  const ssm = new SSMClient(config);
  const Path = `${PARAMETER_PREFIX}/sources/twilio`;
  const sources = [];
  let NextToken;
  do {
    const request = { Path, Recursive: true, WithDecryption: true, NextToken };
    const page = await ssm.send(new GetParametersByPathCommand(request));
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

/** Handles one event of an API Gateway HTTP API (payload format 2.0). */
export async function handle(event, context) {
  const signature = event.headers["x-twilio-signature"];
  if (!signature) return respond(401, { error: "X-Twilio-Signature is required" }, context);
  const body = Buffer.from(event.body ?? "", event.isBase64Encoded ? "base64" : "utf8");
  const parameters = [...new URLSearchParams(body.toString())];
  const target = event.rawQueryString ? `${event.rawPath}?${event.rawQueryString}` : event.rawPath;
  const source = findSource(target, parameters, signature);
  if (!source) return respond(403, { error: "the signature does not match" }, context);

  const fields = new Map();
  for (const [name, value] of parameters) {
    if (value.trim() && !fields.has(name)) fields.set(name, value.trim());
  }
  const callId = fields.get("CallSid");
  if (!callId) return respond(400, { error: "CallSid is required" }, context);

  const item = callItem(source.name, callId, fields, target, body, Date.now());
  const call = `twilio/${source.name}/${callId}`;
  const isNew = await put(item);
  if (isNew && item.due_at) {
    const MessageBody = JSON.stringify({ job: "enrich", call });
    const message = { QueueUrl: ENRICH_QUEUE_URL, MessageBody, DelaySeconds: SETTLE_SECONDS };
    try {
      await sqs.send(new SendMessageCommand(message));
    } catch (error) {
      // The item says that it is due: a sweep over it sends the message again.
      log("warn", "stored and not queued", context, { call, error: error.name });
    }
  }
  log("info", isNew ? "call stored" : "duplicate", context, { call });
  return respond(200, { accepted: isNew ? 1 : 0, duplicates: isNew ? 0 : 1 }, context);
}

/** The source one of whose secrets made the signature. Every secret is tried, so that time reveals nothing. */
function findSource(target, parameters, signature) {
  const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
  const sorted = parameters.toSorted((a, b) => order(a[0], b[0]) || order(a[1], b[1]));
  const isNew = ([name, value], n) => sorted[n - 1]?.[0] !== name || sorted[n - 1][1] !== value;
  const tail = sorted.filter(isNew).flat().join("");
  const sent = Buffer.from(signature);
  let found;
  for (const source of sources) {
    for (const secret of source.secrets) {
      const signed = createHmac("sha1", secret).update(source.publicUrl + target + tail);
      const expected = Buffer.from(signed.digest("base64"));
      if (expected.length === sent.length && timingSafeEqual(expected, sent)) found ??= source;
    }
  }
  return found;
}

const STATES = { queued: "queued", initiated: "queued", ringing: "ringing", "in-progress": "in_progress" };
for (const last of ["completed", "busy", "failed", "no-answer", "canceled"]) STATES[last] = "ended";

function callItem(source, callId, fields, target, body, now) {
  const at = Date.parse(fields.get("Timestamp") ?? "");
  const item = {
    pk: { S: `call#twilio#${source}#${callId}` },
    sk: { S: "call" },
    received_at: { S: new Date(now).toISOString() },
    expires_at: { N: String(Math.floor(now / 1_000) + RETENTION_SECONDS) },
    target: { S: target },
    raw: { B: body },
  };
  const texts = {
    state: STATES[fields.get("CallStatus")],
    status: fields.get("CallStatus"),
    at: Number.isNaN(at) ? undefined : new Date(at).toISOString(),
    direction: fields.get("Direction"),
    from: fields.get("From") ?? fields.get("Caller"),
    to: fields.get("To") ?? fields.get("Called"),
    answered_by: fields.get("AnsweredBy"),
    parent: fields.get("ParentCallSid"),
    cause: fields.get("SipResponseCode"),
    recording_id: fields.get("RecordingSid"),
    recording_url: fields.get("RecordingUrl"),
  };
  for (const name in texts) if (texts[name] !== undefined) item[name] = { S: texts[name] };
  const numbers = { recording_seconds: "RecordingDuration", talk_seconds: "CallDuration", sequence: "SequenceNumber" };
  for (const name in numbers) if (/^\d+$/.test(fields.get(numbers[name]))) item[name] = { N: fields.get(numbers[name]) };
  if (item.state?.S === "ended" && !item.parent) {
    item.due_shard = { S: String(callId.charCodeAt(callId.length - 1) % 16).padStart(2, "0") };
    item.due_at = { N: String(now + SETTLE_SECONDS * 1_000) };
  }
  return item;
}

/** Stores a call if it is new; returns whether it is. */
async function put(Item) {
  const request = {
    TableName: CALLS_TABLE,
    Item,
    ConditionExpression: "attribute_not_exists(pk)",
    ReturnValuesOnConditionCheckFailure: "ALL_OLD",
  };
  try {
    await dynamodb.send(new PutItemCommand(request));
    return true;
  } catch (error) {
    if (error.name === "ConditionalCheckFailedException") return false;
    throw error;
  }
}

function respond(statusCode, body, context) {
  if (statusCode !== 200) log("warn", "webhook rejected", context, { status: statusCode });
  const headers = { "content-type": "application/json" };
  return { statusCode, headers, body: JSON.stringify(body), isBase64Encoded: false };
}

function log(level, message, context, fields) {
  const line = { level, message, ...fields, request_id: context.awsRequestId };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
