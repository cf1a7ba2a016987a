import type { JsonObject } from './objects.ts';

/** One reason for a refusal, as in `details.causes` of a `Status`. */
export interface Cause {
  readonly reason: string;
  readonly message: string;
  readonly field: string;
}

/** An error reply of the API; the server sends it as a `Status`. */
export class ApiFailure extends Error {
  override readonly name = 'ApiFailure';
  readonly code: number;
  readonly reason: string;
  readonly details: JsonObject | undefined;
  readonly retryAfterSeconds: number | undefined;

  constructor(
    code: number,
    reason: string,
    message: string,
    options: { readonly details?: JsonObject; readonly retryAfterSeconds?: number } = {},
  ) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.details = options.details;
    this.retryAfterSeconds = options.retryAfterSeconds;
  }
}

/** The `Status` object of `failure`. */
export function statusOf(failure: ApiFailure): JsonObject {
  const retry = failure.retryAfterSeconds === undefined ? {} : { retryAfterSeconds: failure.retryAfterSeconds };
  const details =
    failure.details === undefined && failure.retryAfterSeconds === undefined
      ? undefined
      : { ...failure.details, ...retry };
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message: failure.message,
    reason: failure.reason,
    ...(details === undefined ? {} : { details }),
    code: failure.code,
  };
}

/** 404: no such object. */
export function notFound(resource: string, name: string): ApiFailure {
  return new ApiFailure(404, 'NotFound', `${resource} "${name}" not found`, { details: { name, kind: resource } });
}

/** 404: no such path on this server. */
export function noSuchPath(): ApiFailure {
  return new ApiFailure(404, 'NotFound', 'the server could not find the requested resource', { details: {} });
}

/** 409: the name is taken. */
export function alreadyExists(resource: string, name: string): ApiFailure {
  return new ApiFailure(409, 'AlreadyExists', `${resource} "${name}" already exists`, {
    details: { name, kind: resource },
  });
}

/** 409: a precondition does not hold (other uid, other version). */
export function conflict(resource: string, name: string, why: string): ApiFailure {
  return new ApiFailure(409, 'Conflict', `Operation cannot be fulfilled on ${resource} "${name}": ${why}`, {
    details: { name, kind: resource },
  });
}

/** 400: the request itself is invalid. */
export function badRequest(message: string): ApiFailure {
  return new ApiFailure(400, 'BadRequest', message);
}

/** 403: not allowed, with the reason. */
export function forbidden(resource: string, name: string, why: string, causes?: readonly Cause[]): ApiFailure {
  return new ApiFailure(403, 'Forbidden', `${resource} "${name}" is forbidden: ${why}`, {
    details: { name, kind: resource, ...(causes === undefined ? {} : { causes }) },
  });
}

/** 422: the object violates rules of its kind; each violation is a cause. */
export function invalidObject(kind: string, name: string, causes: readonly Cause[]): ApiFailure {
  const lines = causes.map(({ field, message }) => `${field}: ${message}`);
  const text = lines.length === 1 ? lines[0] : `[${lines.join(', ')}]`;
  return new ApiFailure(422, 'Invalid', `${kind} "${name}" is invalid: ${String(text)}`, {
    details: { name, kind, causes },
  });
}

/** 410: the resource version or page is no longer known; the client must list again. */
export function expired(message: string): ApiFailure {
  return new ApiFailure(410, 'Expired', message);
}
