/** What the API server uses of a request and of a reply, the same over HTTP/2 and HTTP/1.1. */
import { type IncomingMessage, ServerResponse } from 'node:http';
import { constants, Http2ServerResponse } from 'node:http2';

/** A request; iterating over it gives its body. */
export type ApiRequest = Pick<IncomingMessage, 'method' | 'url' | 'headers'> & AsyncIterable<unknown>;

/** A reply. */
export interface ApiResponse {
  readonly headersSent: boolean;
  readonly writableEnded: boolean;
  /** Bytes that were written and not yet sent. */
  readonly writableLength: number;
  writeHead(code: number, headers: Readonly<Record<string, string | number | string[]>>): unknown;
  /** `false`: the buffer is full until `drain`. */
  write(chunk: string | Uint8Array): boolean;
  readonly end: (() => unknown) & ((chunk: string) => unknown);
  once(event: 'close' | 'drain', listener: () => void): unknown;
}

/** Begins a reply that may be long without a byte: the client must see at once that it is connected. */
export function sendHead(response: ApiResponse, headers: Readonly<Record<string, string>>): void {
  response.writeHead(200, headers);
  // Over HTTP/2 they are sent already.
  if (response instanceof ServerResponse) response.flushHeaders();
}

/** Ends a reply as a broken connection does: over HTTP/2 its stream is reset, over HTTP/1.1 its connection is closed. */
export function breakOff(response: ApiResponse): void {
  if (response instanceof Http2ServerResponse) response.stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  else if (response instanceof ServerResponse) response.socket?.destroy();
}
