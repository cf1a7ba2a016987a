import { STATUS_CODES } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { ApiFailure } from '../../src/local/cluster/failure.ts';
import type { Disturbable, Interference, ApiVerb } from '../../src/local/cluster/interference.ts';

/** Which requests a fault applies to; absent: any. Verbs as in access reviews (`create`, `list`, …); `pods/log` is a resource. */
interface Aim {
  readonly verb?: string;
  readonly resource?: string;
}
/** A fault for the next `count` matching requests; default 1. */
interface Counted extends Aim {
  readonly count?: number;
}
interface Failing extends Counted {
  readonly status: number;
  /** Default: the usual text of the status. */
  readonly message?: string;
  readonly retryAfterSeconds?: number;
}

/** A fault to inject. */
export type Fault =
  /** Closes every open watch. Default `end`. */
  | { readonly fault: 'closeWatches'; readonly how?: 'end' | 'reset' | 'cutLine' }
  | { readonly fault: 'freezeWatches'; readonly ms: number }
  | { readonly fault: 'expireHistory' }
  | { readonly fault: 'sendBookmarks' }
  /** Replies with `status` without carrying the request out. */
  | ({ readonly fault: 'failNext' } & Failing)
  /** Replies after `ms`. */
  | ({ readonly fault: 'slow'; readonly ms: number } & Counted)
  /** Carries the request out and cuts the connection in place of the reply. */
  | ({ readonly fault: 'loseReply' } & Counted)
  /** Refuses matching requests (403, and in access reviews) until `clear`. */
  | ({ readonly fault: 'deny' } & Aim)
  /** Removes all faults that are left. */
  | { readonly fault: 'clear' };

interface Pending<F extends Counted> {
  readonly order: F;
  left: number;
}

/** Faults injected into a local cluster and not yet used up. Pass `attach` to the cluster as its `interference`. */
export class Faults implements Interference {
  #fail: Pending<Failing>[] = [];
  #slow: Pending<Counted & { readonly ms: number }>[] = [];
  #lose: Pending<Counted>[] = [];
  #denied: Aim[] = [];
  #cluster: Disturbable | undefined;

  readonly attach = (cluster: Disturbable): this => {
    this.#cluster = cluster;
    return this;
  };

  order(order: Fault): void {
    const left = 'count' in order ? (order.count ?? 1) : 1;
    switch (order.fault) {
      case 'closeWatches':
        this.#cluster?.closeWatches(order.how ?? 'end');
        return;
      case 'freezeWatches':
        this.#cluster?.freezeWatches(order.ms);
        return;
      case 'expireHistory':
        this.#cluster?.expireHistory();
        return;
      case 'sendBookmarks':
        this.#cluster?.sendBookmarks();
        return;
      case 'failNext':
        this.#fail.push({ order, left });
        return;
      case 'slow':
        this.#slow.push({ order, left });
        return;
      case 'loseReply':
        this.#lose.push({ order, left });
        return;
      case 'deny':
        this.#denied.push(order);
        return;
      case 'clear':
        [this.#fail, this.#slow, this.#lose, this.#denied] = [[], [], [], []];
        this.#cluster?.freezeWatches(0);
        return;
    }
  }

  async before(verb: ApiVerb, target: string, name: string | undefined): Promise<void> {
    const delayMs = take(this.#slow, verb, target)?.ms ?? 0;
    if (delayMs > 0) await delay(delayMs);
    const failing = take(this.#fail, verb, target);
    if (failing !== undefined) throw failureOf(failing);
    if (!this.isDenied(verb, target)) return;
    throw new ApiFailure(
      403,
      'Forbidden',
      `${target} is forbidden: User "reentry-local" cannot ${verb} resource "${target}" in API group ""`,
      { details: { kind: target.split('/')[0], ...(name !== undefined && { name }) } },
    );
  }

  losesReply(verb: ApiVerb, target: string): boolean {
    return take(this.#lose, verb, target) !== undefined;
  }

  isDenied(verb: string, target: string): boolean {
    return this.#denied.some((aim) => matches(aim, verb, target));
  }
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  409: 'Conflict',
  410: 'Expired',
  422: 'Invalid',
  429: 'TooManyRequests',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

function failureOf({ status, message, retryAfterSeconds }: Failing): ApiFailure {
  const usual = status === 429 ? 'Too many requests, please try again later.' : (STATUS_CODES[status] ?? 'error');
  const options = retryAfterSeconds === undefined ? {} : { retryAfterSeconds };
  return new ApiFailure(status, REASONS[status] ?? 'InternalError', message ?? usual, options);
}

const matches = (aim: Aim, verb: string, resource: string): boolean =>
  (aim.verb ?? verb) === verb && (aim.resource ?? resource) === resource;

function take<F extends Counted>(list: Pending<F>[], verb: string, resource: string): F | undefined {
  const index = list.findIndex(({ order }) => matches(order, verb, resource));
  const found = list[index];
  if (found === undefined) return undefined;
  found.left -= 1;
  if (found.left <= 0) list.splice(index, 1);
  return found.order;
}
