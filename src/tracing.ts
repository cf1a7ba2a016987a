/** OpenTelemetry spans over OTLP/HTTP. Loaded only where an endpoint is set. */
import { ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api';
import type { Context } from '@opentelemetry/api';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import { defaultResource, resourceFromAttributes } from '@opentelemetry/resources';
import { BatchSpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import type { Tracer } from './ports/ambient.ts';

/** Interval between exports. */
const EXPORT_EVERY_MS = 1_000;
/** Longest wait for the collector at the end of a process. */
const FLUSH_WITHIN_MS = 3_000;

/** Where the spans of a process go. */
export interface TracingOptions {
  /** Base URL of an OTLP/HTTP collector, as in OTEL_EXPORTER_OTLP_ENDPOINT; `/v1/traces` is appended. */
  readonly endpoint: string;
  readonly role: string;
  /** The process's id. */
  readonly id: string;
}

/** A tracer of this process; disposing it flushes. Spans beyond the queue's limit are dropped. */
export function openTracer({ endpoint, role, id }: TracingOptions): Tracer & AsyncDisposable {
  const exporter = new OTLPTraceExporter({ url: `${endpoint.replace(/\/+$/, '')}/v1/traces` });
  const provider = new TracerProvider({
    resource: defaultResource().merge(
      resourceFromAttributes({ 'service.name': `reentry-${role}`, 'service.instance.id': id }),
    ),
    spanProcessors: [new BatchSpanProcessor({ exporter, scheduledDelayMillis: EXPORT_EVERY_MS })],
  });
  const tracer = provider.getTracer('reentry');
  return {
    start(name, { parent, attributes, startedAtMs }) {
      const span = tracer.startSpan(
        name,
        {
          kind: SpanKind.INTERNAL,
          attributes: { ...attributes },
          ...(startedAtMs === undefined ? {} : { startTime: startedAtMs }),
        },
        contextOf(parent),
      );
      const { traceId, spanId, traceFlags } = span.spanContext();
      return {
        traceparent: `00-${traceId}-${spanId}-${traceFlags.toString(16).padStart(2, '0')}`,
        end({ error, endedAtMs, attributes: more } = {}) {
          if (more !== undefined) span.setAttributes({ ...more });
          if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: error });
          span.end(endedAtMs);
        },
      };
    },
    async [Symbol.asyncDispose]() {
      let timer: NodeJS.Timeout | undefined;
      const late = new Promise<void>((resolve) => {
        timer = setTimeout(resolve, FLUSH_WITHIN_MS);
      });
      // Spans that the collector did not accept are lost; no work depends on them.
      await Promise.race([provider.shutdown().catch(() => undefined), late]);
      clearTimeout(timer);
    },
  };
}

/** A W3C traceparent as a context. */
function contextOf(parent: string | undefined): Context {
  const [, traceId, spanId, flags] = (parent ?? '').split('-');
  if (traceId === undefined || spanId === undefined || flags === undefined) return ROOT_CONTEXT;
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16),
    isRemote: true,
  });
}
