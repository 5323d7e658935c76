// A workflow over two services, traced with the OpenTelemetry SDK as it is.

import { createServer, request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";

import { context, propagation, SpanKind, SpanStatusCode } from "@opentelemetry/api";
import { OTLPTraceExporter as JsonExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as ProtobufExporter } from "@opentelemetry/exporter-trace-otlp-proto";
import { resourceFromAttributes } from "@opentelemetry/resources";
import { BatchSpanProcessor, NodeTracerProvider } from "@opentelemetry/sdk-trace-node";

import { StartProcessor } from "./starts.mjs";

const { values: options } = parseArgs({
  options: {
    protocol: { type: "string", default: "json" },
    endpoint: { type: "string", default: "http://localhost:4318/v1/traces" },
    slow: { type: "string", default: "0" },
  },
});

function provider(service) {
  const Exporter = options.protocol === "protobuf" ? ProtobufExporter : JsonExporter;
  const exporter = () => new Exporter({ url: options.endpoint });
  return new NodeTracerProvider({
    resource: resourceFromAttributes({ "service.name": service, "service.version": "1.4.0" }),
    spanProcessors: [
      new StartProcessor(exporter()),
      // Soon: until it has heard of the end, Tracer takes the step for running.
      new BatchSpanProcessor(exporter(), { scheduledDelayMillis: 500 }),
    ],
  });
}

/** Runs work within a span, and ends it as the work does. */
function within(tracer, name, spanOptions, work, parent = context.active()) {
  return tracer.startActiveSpan(name, spanOptions, parent, async (span) => {
    try {
      return await work(span);
    } catch (error) {
      span.recordException(error);
      span.setStatus({ code: SpanStatusCode.ERROR, message: error.message });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** Serves POST /charge on a free port. */
async function payments(tracer) {
  const server = createServer(async (call, answer) => {
    const parent = propagation.extract(context.active(), call.headers);
    const insert = { kind: SpanKind.CLIENT, attributes: { "db.system.name": "postgresql" } };
    await within(
      tracer,
      "POST /charge",
      { kind: SpanKind.SERVER },
      () => within(tracer, "insert charge", insert, () => sleep(20)),
      parent,
    );
    answer.writeHead(204).end();
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  return server;
}

/** Fails the first time. */
async function reserve(tracer) {
  for (const attempt of [1, 2]) {
    try {
      return await within(tracer, "reserve", { attributes: { "tracer.step.attempt": attempt } }, async () => {
        await sleep(10);
        if (attempt === 1) throw new Error("the warehouse did not answer in 10 ms");
      });
    } catch {
      // The next attempt.
    }
  }
}

function charge(tracer, port) {
  const call = { kind: SpanKind.CLIENT, attributes: { "http.request.method": "POST", "server.port": port } };
  return within(tracer, "charge", call, () => {
    const headers = {};
    propagation.inject(context.active(), headers);
    return new Promise((done, fail) => {
      const sent = request({ port, host: "127.0.0.1", path: "/charge", method: "POST", headers }, (answer) => {
        answer.resume().on("end", done);
      });
      sent.on("error", fail).end();
    });
  });
}

const providers = [provider("orders"), provider("payments")];
providers[0].register();
const [orders, other] = providers.map((made) => made.getTracer("examples"));
const server = await payments(other);
const root = { attributes: { "tracer.workflow.name": "nightly-orders" } };
const id = await within(orders, "run", root, async (span) => {
  await within(orders, "read orders", {}, () => within(orders, "parse", {}, () => sleep(10)));
  await within(orders, "price all", {}, () => {
    const price = (item) => within(orders, "price item", { attributes: { item } }, () => sleep(30));
    return Promise.all([0, 1, 2, 3].map(price));
  });
  await reserve(orders);
  await charge(orders, server.address().port);
  if (options.slow > 0) await within(orders, "report", {}, () => sleep(options.slow * 1000));
  return span.spanContext().traceId;
});
server.close();
await Promise.all(providers.map((made) => made.shutdown()));
console.log(`http://localhost:8000/workflows/wf_${id}`);
