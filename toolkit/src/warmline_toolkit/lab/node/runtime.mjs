// A small Lambda runtime for Node handlers: no package, no build. Started as `node runtime.mjs file.export`.
//
// Loads CommonJS and ES modules from LAMBDA_TASK_ROOT. Calls async handlers, handlers that return a promise, and
// callback handlers (these wait for an empty event loop unless context.callbackWaitsForEmptyEventLoop is false, as in
// Lambda: an open pool then keeps the response back until the timeout). Reports errors in Lambda's shape.
// Not covered: response streaming (awslambda.streamifyResponse) and X-Ray.

import { existsSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { pathToFileURL } from "node:url";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const root = process.env.LAMBDA_TASK_ROOT ?? process.cwd();
const handlerName = process.argv[2] ?? process.env._HANDLER;
const BASE = "/2018-06-01/runtime";
// A free keep-alive socket is unreferenced by the agent, so it never keeps the event loop alive.
const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });

let current = null; // the invocation under way: { id, complete }

function call(method, url, body, headers = {}) {
  return new Promise((resolve, reject) => {
    const data = body === undefined ? null : Buffer.from(body);
    const request = http.request({ host, port, path: BASE + url, method, agent, headers }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () =>
        resolve({ status: response.statusCode, headers: response.headers, body: Buffer.concat(chunks) }));
      response.on("error", reject);
    });
    request.on("error", reject);
    if (data !== null) request.setHeader("Content-Length", data.length);
    request.end(data);
  });
}

function describe(error, fallbackType) {
  if (error instanceof Error) {
    return {
      errorType: error.name ?? fallbackType,
      errorMessage: error.code === undefined ? error.message : `${error.message} (${error.code})`,
      trace: (error.stack ?? "").split("\n"),
    };
  }
  return { errorType: fallbackType, errorMessage: String(error), trace: [] };
}

async function reportError(url, document) {
  console.error(`ERROR\t${document.errorType}: ${document.errorMessage}`);
  if (document.trace.length > 1) console.error(document.trace.slice(1).join("\n"));
  await call("POST", url, JSON.stringify(document), {
    "Content-Type": "application/json",
    "Lambda-Runtime-Function-Error-Type": document.errorType,
  });
}

class RuntimeError extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

async function loadHandler() {
  const [, stem, exported] = /^(.*?)\.([^/]*)$/.exec(path.basename(handlerName)) ?? [];
  const folder = path.resolve(root, path.dirname(handlerName));
  const file = [".mjs", ".js", ".cjs"].map((suffix) => path.join(folder, stem + suffix)).find(existsSync);
  if (file === undefined) {
    throw new RuntimeError("Runtime.ImportModuleError", `Error: Cannot find module '${stem}' in ${folder}`);
  }
  let loaded;
  try {
    loaded = await import(pathToFileURL(file));
  } catch (error) {
    if (error instanceof SyntaxError) error.name = "Runtime.UserCodeSyntaxError";
    else if (error?.code === "ERR_MODULE_NOT_FOUND" || error?.code === "MODULE_NOT_FOUND") {
      error.name = "Runtime.ImportModuleError";
    }
    throw error;
  }
  const found = [loaded, loaded.default].map((module) =>
    exported.split(".").reduce((value, key) => value?.[key], module)).find((value) => value !== undefined);
  if (found === undefined) {
    throw new RuntimeError("Runtime.HandlerNotFound", `${handlerName} is undefined or not exported`);
  }
  if (typeof found !== "function") {
    throw new RuntimeError("Runtime.HandlerNotFound", `${handlerName} is not a function`);
  }
  return found;
}

function contextOf(headers) {
  const deadline = Number(headers["lambda-runtime-deadline-ms"]);
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: process.env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: process.env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: process.env.AWS_LAMBDA_LOG_STREAM_NAME,
    awsRequestId: headers["lambda-runtime-aws-request-id"],
    invokedFunctionArn: headers["lambda-runtime-invoked-function-arn"],
    getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
  };
}

// Resolves with { value } or { error } when the invocation is complete.
function run(handler, event, context) {
  return new Promise((resolve) => {
    let waits = false; // for an empty event loop
    let answer = { value: null };
    const complete = (result) => {
      process.removeListener("beforeExit", onEmpty);
      resolve(result);
    };
    const onEmpty = () => complete(answer);
    const finish = (error, value) => {
      if (error !== undefined && error !== null) return complete({ error });
      if (!context.callbackWaitsForEmptyEventLoop) return complete({ value });
      answer = { value };
      if (!waits) process.on("beforeExit", onEmpty);
      waits = true;
    };
    context.done = finish;
    context.succeed = (value) => finish(null, value);
    context.fail = (error) => finish(error ?? "handled");
    current.complete = complete;
    let returned;
    try {
      returned = handler(event, context, finish);
    } catch (error) {
      return complete({ error });
    }
    if (typeof returned?.then === "function") {
      returned.then((value) => complete({ value }), (error) => complete({ error }));
    } else if (!waits) {
      waits = true; // a handler that returns nothing is over when its callback is called, or nothing is left to do
      process.on("beforeExit", onEmpty);
    }
  });
}

async function serve(handler) {
  for (;;) {
    const next = await call("GET", "/invocation/next");
    const id = next.headers["lambda-runtime-aws-request-id"];
    process.env._X_AMZN_TRACE_ID = next.headers["lambda-runtime-trace-id"] ?? "";
    current = { id, complete: null };
    const result = await run(handler, JSON.parse(next.body.toString() || "null"), contextOf(next.headers));
    current = null;
    if ("error" in result) {
      await reportError(`/invocation/${id}/error`, describe(result.error, "Error"));
      continue;
    }
    let body;
    try {
      body = JSON.stringify(result.value) ?? "null";
    } catch (error) {
      await reportError(`/invocation/${id}/error`, describe(error, "Runtime.MarshalError"));
      continue;
    }
    const answer = await call("POST", `/invocation/${id}/response`, body, { "Content-Type": "application/json" });
    if (answer.status !== 202) throw new Error(`the response was refused with ${answer.status}: ${answer.body}`);
  }
}

// An error outside the handler's own flow ends the process, after it was reported.
function fatal(type) {
  return (error) => {
    const document = describe(error, type);
    document.errorType = type;
    const url = current === null ? "/init/error" : `/invocation/${current.id}/error`;
    // The agent's one socket may be held by the parked call for the next event: this report needs its own.
    agent.maxSockets = 2;
    reportError(url, document).finally(() => process.exit(129));
  };
}
process.on("uncaughtException", fatal("Runtime.UncaughtException"));
process.on("unhandledRejection", fatal("Runtime.UnhandledPromiseRejection"));

try {
  const handler = await loadHandler();
  await serve(handler);
} catch (error) {
  if (current === null) await reportError("/init/error", describe(error, "Runtime.Unknown")).catch(() => {});
  process.exit(1);
}
