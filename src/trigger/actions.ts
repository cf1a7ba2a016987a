/** What the triggerer does about the world, as values. */
import { tenantKey } from '../core/tenant-key.ts';
import type { PodProjection, PodRef } from '../core/pod/projection.ts';
import type { ResumeMessage, StartMessage } from '../wire/steps.ts';
import type { TriggerEvent } from '../wire/triggers.ts';
import type { RunKey } from '../wire/subjects.ts';

/** A step to be asked for; `id` is stable for the same firing, by whichever replica. */
export interface Firing {
  readonly kind: 'fire';
  readonly run: RunKey;
  readonly queue: string;
  readonly id: string;
  readonly event: TriggerEvent;
  /** Revision of the subscription that fired. */
  readonly revision: number;
  readonly step:
    | { readonly lane: 'resume'; readonly message: ResumeMessage }
    | { readonly lane: 'start'; readonly message: StartMessage };
}

/** A pod that no synced watch shows: to be asked for by GET. */
export interface Check {
  readonly kind: 'check';
  readonly run: RunKey;
  readonly pod: PodRef;
}

/** A pod without a subscription: to be reported to a worker, which reads the run's state and decides. */
export interface OrphanReport {
  readonly kind: 'orphan';
  readonly run: RunKey;
  readonly queue: string;
  readonly id: string;
  readonly pod: PodProjection;
}

export type Action = Firing | Check | OrphanReport;

/** What is said to workers. */
export type Word = Firing | OrphanReport;

/** What a GET answered; `failed`: nothing was learnt. */
export interface Checked {
  readonly run: RunKey;
  readonly uid: string;
  readonly answer: { readonly kind: 'there'; readonly pod: PodProjection } | { readonly kind: 'absent' | 'failed' };
}

/** The run's key inside this process. The separator cannot make two runs one: the tenant's length is part of it. */
export const runKeyText = ({ tenant, runId }: RunKey): string => tenantKey(tenant, runId);
