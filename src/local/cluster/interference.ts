/** Where a test can disturb the local cluster. The product runs without any of it. */

/** What a request does, in the terms of access reviews. */
export type ApiVerb = 'get' | 'list' | 'watch' | 'create' | 'update' | 'patch' | 'delete' | 'deletecollection';

/** Disturbs single requests. `target`: the resource, with its subresource if any (`pods`, `pods/log`). */
export interface Interference {
  /** Called before a request is carried out: delays it, or rejects with an `ApiFailure` that is sent as the reply. */
  before(verb: ApiVerb, target: string, name: string | undefined): Promise<void>;
  /** Whether the reply is cut off (a reset stream, or over HTTP/1.1 a closed connection) after the request was carried out. */
  losesReply(verb: ApiVerb, target: string): boolean;
  /** Whether access reviews deny this. */
  isDenied(verb: string, target: string): boolean;
}

/** What a test can do to a whole cluster. */
export interface Disturbable {
  /** Closes all open watches: properly, as a broken connection does, or in the middle of a line. */
  closeWatches(how: 'end' | 'reset' | 'cutLine'): void;
  /** Keeps all watches, also new ones, open and silent for `ms`; 0 ends the silence. */
  freezeWatches(ms: number): void;
  /** Sends a bookmark to all watches that asked for them. */
  sendBookmarks(): void;
  /** Makes all earlier resource versions and `continue` tokens expire (410). */
  expireHistory(): void;
}
