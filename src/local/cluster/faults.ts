import { z } from 'zod';

/** Which requests a fault is for. `*` matches any. Verbs as in access reviews (`create`, `list`, …); `pods/log` is a resource. */
interface Aim {
  readonly verb: string;
  readonly resource: string;
}

const aim = { verb: z.string().default('*'), resource: z.string().default('*') };
const count = z.number().int().positive().default(1);

/** An order to misbehave, as posted to `/_local/faults`. */
export const faultSchema = z.discriminatedUnion('fault', [
  z.strictObject({ fault: z.literal('closeWatches'), how: z.enum(['end', 'reset', 'cutLine']).default('end') }),
  z.strictObject({ fault: z.literal('freezeWatches'), ms: z.number().nonnegative() }),
  z.strictObject({ fault: z.literal('expireHistory') }),
  z.strictObject({ fault: z.literal('sendBookmarks') }),
  z.strictObject({
    fault: z.literal('failNext'),
    ...aim,
    status: z.number().int().min(400).max(599),
    count,
    retryAfterSeconds: z.number().nonnegative().optional(),
    message: z.string().optional(),
  }),
  z.strictObject({ fault: z.literal('slow'), ...aim, ms: z.number().nonnegative(), count }),
  z.strictObject({ fault: z.literal('loseReply'), ...aim, count }),
  z.strictObject({ fault: z.literal('deny'), ...aim }),
  z.strictObject({ fault: z.literal('clear') }),
]);

/** A fault to order. */
export type Fault = z.input<typeof faultSchema>;
type Order = z.output<typeof faultSchema>;

/** What the open watches must be able to do for the faults. */
export interface WatchControls {
  close(how: 'end' | 'reset' | 'cutLine'): void;
  freeze(ms: number): void;
  bookmark(): void;
}

interface Pending<F extends Order['fault']> {
  readonly order: Extract<Order, { fault: F }>;
  left: number;
}

/** The misbehaviour ordered and not yet used up. */
export class Faults {
  readonly #fail: Pending<'failNext'>[] = [];
  readonly #slow: Pending<'slow'>[] = [];
  readonly #lose: Pending<'loseReply'>[] = [];
  #denied: Aim[] = [];
  readonly #watches: WatchControls;
  readonly #expireHistory: () => void;

  constructor(watches: WatchControls, expireHistory: () => void) {
    this.#watches = watches;
    this.#expireHistory = expireHistory;
  }

  /**
   * Orders a fault:
   * - `closeWatches` ends every open watch now (`end`), with a connection reset, or in the middle of a line (`cutLine`);
   * - `freezeWatches` leaves them open and silent for `ms`;
   * - `expireHistory` makes every older version and begun page answer 410;
   * - `sendBookmarks` sends one to each watch that asked for them, now;
   * - `failNext` answers the next `count` matching requests with `status` (and `message`), undone;
   * - `slow` answers them after `ms`;
   * - `loseReply` does them and cuts the connection before the answer;
   * - `deny` refuses matching requests (403, and in access reviews) until `clear`;
   * - `clear` forgets all that is left.
   */
  order(fault: Fault): void {
    const order = faultSchema.parse(fault);
    switch (order.fault) {
      case 'closeWatches':
        this.#watches.close(order.how);
        return;
      case 'freezeWatches':
        this.#watches.freeze(order.ms);
        return;
      case 'expireHistory':
        this.#expireHistory();
        return;
      case 'sendBookmarks':
        this.#watches.bookmark();
        return;
      case 'failNext':
        this.#fail.push({ order, left: order.count });
        return;
      case 'slow':
        this.#slow.push({ order, left: order.count });
        return;
      case 'loseReply':
        this.#lose.push({ order, left: order.count });
        return;
      case 'deny':
        this.#denied.push(order);
        return;
      case 'clear':
        this.#fail.length = 0;
        this.#slow.length = 0;
        this.#lose.length = 0;
        this.#denied = [];
        this.#watches.freeze(0);
        return;
    }
  }

  /** The failure ordered for this request, if any; used up by asking. */
  failure(verb: string, resource: string): Pending<'failNext'>['order'] | undefined {
    return take(this.#fail, verb, resource);
  }

  /** How long this request's answer is to be held back. */
  delayMs(verb: string, resource: string): number {
    return take(this.#slow, verb, resource)?.ms ?? 0;
  }

  /** Whether this request's answer is to be lost. */
  losesReply(verb: string, resource: string): boolean {
    return take(this.#lose, verb, resource) !== undefined;
  }

  /** Whether this verb is forbidden on this resource. */
  isDenied(verb: string, resource: string): boolean {
    return this.#denied.some((aim) => matches(aim, verb, resource));
  }
}

function matches(aim: Aim, verb: string, resource: string): boolean {
  return (aim.verb === '*' || aim.verb === verb) && (aim.resource === '*' || aim.resource === resource);
}

function take<F extends 'failNext' | 'slow' | 'loseReply'>(
  list: Pending<F>[],
  verb: string,
  resource: string,
): Pending<F>['order'] | undefined {
  const index = list.findIndex(({ order }) => matches(order, verb, resource));
  const found = list[index];
  if (found === undefined) return undefined;
  found.left -= 1;
  if (found.left <= 0) list.splice(index, 1);
  return found.order;
}
