/** What a triggerer remembers of one subscription. */
import type { PodProjection } from '../core/pod/projection.ts';
import type { Subscription } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';
import type { Departed } from './pod-book.ts';
import type { Repeats } from './repeats.ts';

/** A pod as a GET showed it. */
interface Seen {
  readonly pod: PodProjection;
  /** When it was asked for: the answer is not older. */
  readonly at: number;
  /** What the watch had shown until then: as soon as it shows something else, that is newer. */
  readonly over: PodProjection | undefined;
}

/** One subscription. Ends when the subscription is deleted. */
export interface Wait {
  readonly run: RunKey;
  readonly shard: string;
  subscription: Subscription;
  revision: number;
  arrivedAt: number;
  /** Of the present revision. */
  fired: Repeats;
  /** Step that a `running` event was fired for. */
  loggedStep: number | undefined;
  loggingAt: number | undefined;
  /** The pod, as of its departure. */
  departed: Departed | undefined;
  /** As a GET showed it, where no watch does or the watch may be behind. */
  checked: Seen | undefined;
  absentConfirmed: boolean;
  /** The GET under way: when it was sent, and what the watch had told by then. */
  checking: (Pick<Wait, 'departed'> & { readonly at: number; readonly shown: PodProjection | undefined }) | undefined;
  /** No GET before. */
  checkAt: number | undefined;
  /** `checkAt` is a place in the rate of GETs. */
  checkReserved: boolean;
  checks: number;
}
