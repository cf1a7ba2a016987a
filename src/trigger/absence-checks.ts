/** Pods that the watch does not show, or may show too late: what is known of them otherwise, and the ration of GETs that find out more. */
import { backOffMs } from '../core/back-off.ts';
import type { PodProjection, PodRef } from '../core/pod/projection.ts';
import type { RunKey } from '../wire/subjects.ts';
import { Rate } from './rate.ts';
import type { Departed } from './watched-pods.ts';

/** A GET of a wait's pod, with what the watch had shown when it was sent: what the watch shows later is newer than the answer. */
export interface Check {
  readonly kind: 'check';
  readonly run: RunKey;
  readonly pod: PodRef;
  readonly sentAt: number;
  readonly shown: PodProjection | undefined;
  readonly departed: Departed | undefined;
}

/** The answer of a GET; `failed`: nothing is known, an API that does not answer never ends a run. */
export type CheckAnswer =
  { readonly kind: 'present'; readonly pod: PodProjection } | { readonly kind: 'absent' | 'failed' };

/** What is known of a wait's pod beside the watch's projection. */
export interface Absence {
  /** The pod as it left the watch. */
  readonly departed: Departed | undefined;
  /** A GET showed that the pod is not there. */
  readonly isConfirmed: boolean;
  /** The pod as a GET showed it. */
  readonly checked: Checked | undefined;
  /** A GET is under way. */
  readonly isChecking: boolean;
  /** No GET before, epoch milliseconds. */
  readonly checkAt: number | undefined;
  /** `checkAt` is a reservation in the ration. */
  readonly isReserved: boolean;
  /** GETs that did not settle the matter. */
  readonly checks: number;
}

interface Checked {
  readonly pod: PodProjection;
  /** When it was asked for: the answer is not older. */
  readonly at: number;
  /** What the watch showed until then: as soon as it shows anything else, that is newer. */
  readonly over: PodProjection | undefined;
}

const NOTHING_KNOWN: Absence = {
  departed: undefined,
  isConfirmed: false,
  checked: undefined,
  isChecking: false,
  checkAt: undefined,
  isReserved: false,
  checks: 0,
};

/** When to repeat GETs. */
export interface CheckIntervals {
  /** How long a pod must be missing from a synced watch before a GET, and the time to the next GET. Default 10,000. */
  readonly absentAfterMs: number;
  /** The time between two GETs doubles up to this. Default 60,000. */
  readonly maxCheckIntervalMs: number;
}

/** For a new revision of the subscription: what is known of the pod stays, the pace of GETs begins anew. */
export function carriedOver(before: Absence | undefined, departed: Departed | undefined): Absence | undefined {
  if (before === undefined) return departed === undefined ? undefined : { ...NOTHING_KNOWN, departed };
  return { ...before, departed: before.departed ?? departed, checkAt: undefined, isReserved: false, checks: 0 };
}

/** The watch shows the pod. */
export const shown = (absence: Absence): Absence => ({ ...absence, departed: undefined, isConfirmed: false });

/** The pod left the watch. */
export const left = (absence: Absence | undefined, departed: Departed): Absence => ({
  ...(absence ?? NOTHING_KNOWN),
  departed,
});

/** A GET is sent. */
export const checking = (absence: Absence | undefined): Absence => ({
  ...(absence ?? NOTHING_KNOWN),
  isChecking: true,
  isReserved: false,
});

/** A GET is put off. */
export const putOff = (absence: Absence | undefined, checkAt: number, isReserved: boolean): Absence => ({
  ...(absence ?? NOTHING_KNOWN),
  checkAt,
  isReserved,
});

/** A caller's own GET, sent at `at` before the watch showed anything. */
export const asked = (absence: Absence | undefined, pod: PodProjection | undefined, at: number): Absence =>
  pod === undefined
    ? { ...(absence ?? NOTHING_KNOWN), isConfirmed: true }
    : { ...NOTHING_KNOWN, checked: { pod, at, over: undefined } };

/** A GET was answered. `over`: what the watch shows now. */
export function answered(
  absence: Absence | undefined,
  check: Check,
  answer: CheckAnswer,
  over: PodProjection | undefined,
  now: number,
  { absentAfterMs, maxCheckIntervalMs }: CheckIntervals,
): Absence {
  const before = absence ?? NOTHING_KNOWN;
  const checks = before.checks + 1;
  const checkAt = now + backOffMs(checks, absentAfterMs, maxCheckIntervalMs);
  const after = { ...before, isChecking: false, checks, checkAt };
  switch (answer.kind) {
    case 'failed':
      return after;
    case 'absent':
      return { ...after, isConfirmed: true };
    case 'present': {
      // What the watch has shown since the GET was sent may be newer than its answer.
      const isNewest = check.shown === over && check.departed === before.departed;
      const known = isNewest
        ? { ...after, departed: undefined, checked: { pod: answer.pod, at: check.sentAt, over } }
        : after;
      // Asked about a deadline only: the watch goes on showing this pod.
      return over === undefined ? known : { ...known, checkAt: undefined, checks: 0 };
    }
  }
}

const MAX_UNDER_WAY = 20;

/** The ration of GETs: an even rate, and at most 20 under way. */
export class CheckRation {
  readonly #rate: Rate;
  #underWay = 0;

  /** `perSecond`: GETs per second. */
  constructor(perSecond: number) {
    this.#rate = new Rate(perSecond);
  }

  /** Counts a GET as under way where `at` is now; else it may be asked for again `at` then, in the meantime with a reservation or without. */
  take(isReserved: boolean, now: number): { readonly at: number; readonly isReserved: boolean } {
    if (this.#underWay >= MAX_UNDER_WAY) return { at: now + 1_000, isReserved };
    const at = isReserved ? now : this.#rate.reserve(now);
    if (at > now) return { at, isReserved: true };
    this.#underWay += 1;
    return { at, isReserved: false };
  }

  /** A GET was answered, or failed. */
  giveBack(): void {
    this.#underWay -= 1;
  }
}
