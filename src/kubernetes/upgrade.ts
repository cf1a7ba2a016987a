/** Captures a server's reply to a refused WebSocket upgrade, which WebSocket itself hides. */
import type { OutgoingHttpHeaders } from 'node:http';
import type { Dispatcher } from 'undici';

/** The reply to a refused upgrade, or the error that prevented the request. */
export interface UpgradeRefusal {
  status?: number;
  body?: string;
  retryAfter?: string;
  error?: Error;
}

const MAX_BODY_BYTES = 65_536;

/**
 * A dispatcher that writes a reply other than 101 to `refusal`. It also sends `headers`: an array as several headers of that name, where
 * WebSocket would join them into one.
 */
export function capturingRefusals(
  dispatcher: Dispatcher,
  headers: Readonly<Record<string, string | string[]>>,
  refusal: UpgradeRefusal,
): Dispatcher {
  return dispatcher.compose(
    (dispatch) => (options, handler) =>
      dispatch({ ...options, headers: { ...own(options), ...headers } }, capturing(handler, refusal)),
  );
}

function own({ headers }: Dispatcher.DispatchOptions): OutgoingHttpHeaders {
  if (headers === undefined || headers === null) return {};
  if (Array.isArray(headers) || Symbol.iterator in headers) throw new TypeError('headers of an upgrade are a record');
  return headers;
}

/** Delays a refusal until its body is complete, because the WebSocket drops the connection as soon as it is notified. */
function capturing(handler: Dispatcher.DispatchHandler, refusal: UpgradeRefusal): Dispatcher.DispatchHandler {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let held = (): void => undefined;
  return {
    onRequestStart: (controller, context) => handler.onRequestStart?.(controller, context),
    onRequestUpgrade: (controller, status, headers, socket) =>
      handler.onRequestUpgrade?.(controller, status, headers, socket),
    onResponseStart(controller, status, headers, text) {
      refusal.status = status;
      const retryAfter = headers['retry-after'];
      if (typeof retryAfter === 'string') refusal.retryAfter = retryAfter;
      held = () => handler.onResponseStart?.(controller, status, headers, text);
    },
    onResponseData(_, chunk) {
      if (bytes < MAX_BODY_BYTES) chunks.push(Buffer.from(chunk));
      bytes += chunk.length;
    },
    onResponseEnd(controller, trailers) {
      refusal.body = Buffer.concat(chunks).subarray(0, MAX_BODY_BYTES).toString('utf8');
      held();
      handler.onResponseEnd?.(controller, trailers);
    },
    onResponseError(controller, error) {
      refusal.error = error;
      handler.onResponseError?.(controller, error);
    },
  };
}
