"""A workflow over two services, traced with the OpenTelemetry SDK as it is."""

import argparse
import contextvars
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, HTTPServer

from opentelemetry.propagate import extract, inject
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind

from starts import StartProcessor


def exporter(arguments):
    if arguments.protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        return OTLPSpanExporter(endpoint=arguments.endpoint or "http://localhost:4317", insecure=True)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=arguments.endpoint or "http://localhost:4318/v1/traces")


def provider(service, arguments):
    made = TracerProvider(resource=Resource.create({"service.name": service, "service.version": "1.4.0"}))
    made.add_span_processor(StartProcessor(exporter(arguments)))
    # Soon: until it has heard of the end, Tracer takes the step for running.
    made.add_span_processor(BatchSpanProcessor(exporter(arguments), schedule_delay_millis=500))
    return made


def payments(tracer):
    """Serves POST /charge on a free port; returns the server."""

    class Charge(BaseHTTPRequestHandler):
        def do_POST(self):
            context = extract({name.lower(): value for name, value in self.headers.items()})
            with tracer.start_as_current_span("POST /charge", context=context, kind=SpanKind.SERVER):
                with tracer.start_as_current_span(
                    "insert charge", kind=SpanKind.CLIENT, attributes={"db.system.name": "postgresql"}
                ):
                    time.sleep(0.02)
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Charge)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def price(tracer, item):
    with tracer.start_as_current_span("price item", attributes={"item": item}):
        time.sleep(0.03)


def reserve(tracer):
    """Fails the first time."""
    for attempt in (1, 2):
        try:
            with tracer.start_as_current_span("reserve", attributes={"tracer.step.attempt": attempt}):
                time.sleep(0.01)
                if attempt == 1:
                    raise TimeoutError("the warehouse did not answer in 10 ms")
                return
        except TimeoutError:
            pass


def charge(tracer, port):
    with tracer.start_as_current_span(
        "charge", kind=SpanKind.CLIENT, attributes={"http.request.method": "POST", "server.port": port}
    ):
        headers = {}
        inject(headers)
        request = urllib.request.Request(f"http://127.0.0.1:{port}/charge", data=b"", headers=headers)
        urllib.request.urlopen(request).close()


def run(tracer, port, slow):
    with tracer.start_as_current_span("run", attributes={"tracer.workflow.name": "nightly-orders"}) as root:
        with tracer.start_as_current_span("read orders"):
            with tracer.start_as_current_span("parse"):
                time.sleep(0.01)
        with tracer.start_as_current_span("price all"), ThreadPoolExecutor() as pool:
            items = [
                pool.submit(contextvars.copy_context().run, price, tracer, item) for item in range(4)
            ]
            for item in items:
                item.result()
        reserve(tracer)
        charge(tracer, port)
        if slow:
            with tracer.start_as_current_span("report"):
                time.sleep(slow)
        return root.get_span_context().trace_id


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--protocol", choices=["http", "grpc"], default="http")
    parser.add_argument("--endpoint", help="http://localhost:4318/v1/traces, or http://localhost:4317 for gRPC")
    parser.add_argument("--slow", type=float, default=0, help="seconds that the last step takes")
    arguments = parser.parse_args()
    providers = [provider(service, arguments) for service in ("orders", "payments")]
    orders, other = (made.get_tracer("examples") for made in providers)
    server = payments(other)
    trace = run(orders, server.server_port, arguments.slow)
    server.shutdown()
    for made in providers:
        made.shutdown()
    print(f"http://localhost:8000/workflows/wf_{trace:032x}")


if __name__ == "__main__":
    main()
