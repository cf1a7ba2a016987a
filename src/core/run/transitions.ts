/**
 * The run's states: which message does what in which phase, as one table, and the pure choice of the row that applies.
 * What the next state looks like is said in `state-changes.ts`; who carries it out is `worker/`. @see spec protocol §3–§6
 */
import type { Fence, Phase, RunState } from '../../wire/run-state.ts';
import type { TriggerEvent } from '../../wire/triggers.ts';

/** What can happen to a run: its request, a step message, or what the owner's work came to. */
export type Happening =
  'request' | 'start' | 'resume' | 'cancel' | 'gate' | 'defer' | 'later' | 'retry' | 'stop' | 'end';

/** What a worker does about a message. */
export type Action =
  /** Nothing is left to do. */
  | 'ack'
  /** The run is over: its subscription goes if it is still there. */
  | 'drop'
  /** The message owns what is stored: do what the phase still owes, in order. */
  | 'owe'
  /** Become the owner, then carry the step out. */
  | 'take'
  /** Write the field `cancel` and leave the fence: the owner turns to stopping by itself. */
  | 'mark'
  /** Write the terminal state and what it owes. */
  | 'end';

/** Phases nothing leaves. */
export const TERMINAL_PHASES = ['Succeeded', 'Failed', 'Skipped', 'Cancelled'] as const satisfies readonly Phase[];

/** Whether a run in `phase` is over. */
export function isTerminal(phase: Phase): boolean {
  return TERMINAL_PHASES.some((terminal) => terminal === phase);
}

/** What a row asks of state and message, each by its name. */
const CONDITIONS = {
  owned: (facts) => facts.ours,
  'not started': (facts) => facts.state === undefined,
  'its attempt, and due': (facts) => facts.sameAttempt && facts.due,
  'its step': (facts) => facts.sameStep && !facts.expired,
  'its step, expired': (facts) => facts.sameStep && facts.expired,
  'asked before': (facts) => facts.state?.cancel !== undefined,
  'no live pod': (facts) => facts.state?.pod === undefined || facts.state.await?.gone !== true,
  'a pod still going': (facts) => facts.state?.pod !== undefined && facts.state.await?.gone === true,
  always: () => true,
} as const satisfies Readonly<Record<string, (facts: Facts) => boolean>>;

/** A row of the table. `from: 'none'`: no state yet. */
export interface Row {
  readonly from: readonly (Phase | 'none')[];
  readonly on: Happening;
  readonly when: keyof typeof CONDITIONS;
  readonly action: Action;
  /** Absent: the phase stays. */
  readonly to?: Phase | readonly Phase[];
}

const MESSAGES = ['request', 'start', 'resume', 'cancel'] as const;
type Message = (typeof MESSAGES)[number];

const owed: readonly Row[] = MESSAGES.flatMap((on): readonly Row[] => [
  { from: ['Queued', 'Deferred', ...TERMINAL_PHASES], on, when: 'owned', action: 'owe' },
  { from: ['Starting'], on, when: 'owned', action: 'take', to: 'Starting' },
  { from: ['Resuming'], on, when: 'owned', action: 'take', to: 'Resuming' },
]);

/** Every transition of a run. For a message the first row that applies counts; what is not listed is acknowledged. */
export const TRANSITIONS: readonly Row[] = [
  ...owed,
  { from: ['none'], on: 'request', when: 'not started', action: 'take', to: ['Queued', 'Failed'] },
  { from: ['Queued'], on: 'start', when: 'its attempt, and due', action: 'take', to: 'Starting' },
  { from: [...TERMINAL_PHASES, 'none'], on: 'start', when: 'always', action: 'drop' },
  { from: [...TERMINAL_PHASES, 'none'], on: 'resume', when: 'always', action: 'drop' },
  { from: ['Queued'], on: 'resume', when: 'its step, expired', action: 'end', to: 'Failed' },
  { from: ['Deferred'], on: 'resume', when: 'its step', action: 'take', to: 'Resuming' },
  { from: ['Queued', 'Starting', 'Deferred', 'Resuming'], on: 'cancel', when: 'asked before', action: 'ack' },
  { from: ['Queued'], on: 'cancel', when: 'no live pod', action: 'end', to: 'Cancelled' },
  { from: ['Queued'], on: 'cancel', when: 'a pod still going', action: 'take', to: 'Resuming' },
  { from: ['Deferred'], on: 'cancel', when: 'always', action: 'take', to: 'Resuming' },
  { from: ['Starting', 'Resuming'], on: 'cancel', when: 'always', action: 'mark' },
  // Its turn has not come: it waits in the queue, as it did.
  { from: ['Queued'], on: 'gate', when: 'its attempt, and due', action: 'owe', to: 'Queued' },
  // What the owner's own work comes to.
  { from: ['Starting', 'Resuming'], on: 'defer', when: 'owned', action: 'owe', to: 'Deferred' },
  { from: ['Starting', 'Resuming'], on: 'stop', when: 'owned', action: 'owe', to: 'Deferred' },
  { from: ['Starting'], on: 'later', when: 'owned', action: 'owe', to: 'Queued' },
  { from: ['Starting', 'Resuming'], on: 'retry', when: 'owned', action: 'owe', to: 'Queued' },
  { from: ['Starting', 'Resuming'], on: 'end', when: 'owned', action: 'end', to: TERMINAL_PHASES },
];

/** A step message as far as the choice of a row goes. */
export type StepMessage =
  | { readonly on: 'request' }
  | { readonly on: 'start'; readonly attempt: number }
  | { readonly on: 'resume'; readonly step: number; readonly event: Pick<TriggerEvent, 'kind' | 'reason'> }
  | { readonly on: 'cancel' };

/** Which delivered message asks. */
export interface MessageId {
  readonly stream: string;
  readonly seq: number;
}

interface Facts {
  readonly state: RunState | undefined;
  readonly ours: boolean;
  readonly sameAttempt: boolean;
  readonly due: boolean;
  readonly sameStep: boolean;
  readonly expired: boolean;
}

/** A wait's own clock may run this much ahead of ours before its `start` counts as early. @see spec protocol §7 (250 ms) */
const EARLY_TOLERANCE_MS = 1_000;

/** Whether the fence names this message: only its redelivery may take over. */
export function owns(fence: Fence, message: MessageId): boolean {
  return fence.stream === message.stream && fence.seq === message.seq;
}

/** What a worker does about a message, given the state it has read. Pure: the clock comes in as `now`, broker time. */
export function decide(
  state: RunState | undefined,
  message: StepMessage,
  id: MessageId,
  now: number,
): { readonly action: Action; readonly to?: Phase } {
  const facts: Facts = {
    state,
    ours: state !== undefined && owns(state.fence, id),
    sameAttempt: message.on === 'start' && state?.attempt === message.attempt,
    due: (state?.await?.notBefore ?? 0) <= now + EARLY_TOLERANCE_MS,
    sameStep: message.on === 'resume' && state?.step === message.step,
    expired: message.on === 'resume' && message.event.kind === 'timeout' && message.event.reason === 'EXPIRED',
  };
  const phase = state?.phase ?? 'none';
  const row = TRANSITIONS.find(
    ({ from, on, when }) => on === message.on && from.includes(phase) && CONDITIONS[when](facts),
  );
  if (row === undefined) return { action: 'ack' };
  return typeof row.to === 'string' ? { action: row.action, to: row.to } : { action: row.action };
}

/** Whether the table lets the owner's work go from `from` to `to`; the guard that every write passes. */
export function mayGo(from: Phase, on: Exclude<Happening, Message>, to: Phase): boolean {
  return TRANSITIONS.some(
    (row) =>
      row.on === on && row.from.includes(from) && (row.to === to || (Array.isArray(row.to) && row.to.includes(to))),
  );
}

/** The table as a Mermaid state diagram, for the README. */
export function stateDiagram(): string {
  const arrows = new Map<string, Set<string>>();
  for (const { from, on, to, when } of TRANSITIONS) {
    if (to === undefined) continue;
    for (const source of from) {
      for (const target of typeof to === 'string' ? [to] : to) {
        // A take-over by redelivery leaves the phase as it is.
        if (source === target) continue;
        const arrow = `${source === 'none' ? '[*]' : source} --> ${target}`;
        const labels = arrows.get(arrow) ?? new Set();
        labels.add(when === 'its step, expired' ? 'expired' : on);
        arrows.set(arrow, labels);
      }
    }
  }
  return [
    'stateDiagram-v2',
    ...[...arrows].map(([arrow, labels]) => `    ${arrow}: ${[...labels].join(', ')}`),
    ...TERMINAL_PHASES.map((phase) => `    ${phase} --> [*]`),
  ].join('\n');
}
