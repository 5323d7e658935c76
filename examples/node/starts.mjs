// Tells Tracer which spans are running, so that it can judge them before they end.

/** Every second exports a copy of each span that began and has not ended: without a length, marked as running. */
export class StartProcessor {
  #running = new Map();

  constructor(exporter, milliseconds = 1000) {
    this.exporter = exporter;
    this.timer = setInterval(() => this.#tell(), milliseconds).unref();
  }

  onStart(span) {
    if (span.spanContext().traceFlags & 1) this.#running.set(span.spanContext().spanId, { span, told: false });
  }

  onEnd(span) {
    this.#running.delete(span.spanContext().spanId);
  }

  #tell() {
    const untold = [...this.#running.values()].filter((running) => !running.told);
    untold.forEach((running) => (running.told = true));
    if (untold.length > 0) this.exporter.export(untold.map(({ span }) => startOf(span)), () => {});
  }

  async forceFlush() {}

  shutdown() {
    clearInterval(this.timer);
    return this.exporter.shutdown();
  }
}

function startOf(span) {
  return Object.create(span, {
    attributes: { value: { ...span.attributes, "tracer.step.state": "running" } },
    endTime: { value: span.startTime },
    events: { value: [] },
    links: { value: [] },
  });
}
