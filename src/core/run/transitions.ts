/**
 * The states of a run as one table: which message does what in which phase, and which changes a worker may make to a run that it owns.
 * `state-changes.ts` makes the next states, `worker/protocol` carries them out; every write asks `isAllowed` first.
 */
import type { Fence, Phase, RunState } from '../../wire/run-state.ts';
import type { TriggerEvent } from '../../wire/triggers.ts';

/** A message about a run: its request, or a step message of one of the three lanes (`cancel` arrives on lane `ctl`). */
export type Message = 'request' | 'start' | 'resume' | 'cancel';

/** A change that a worker makes to a run it owns: what its step came to, or the bookkeeping of a message that comes again. */
export type OwnerChange =
  /** Held back until the queue, its turn or its concurrency key lets it start. */
  | 'gate'
  /** Waits for its pod or for a time, without a worker. */
  | 'defer'
  /** Waits for its pod and occupies its slot. */
  | 'block'
  /** Cannot start now: the same attempt again at a later time. */
  | 'postpone'
  /** Another attempt. */
  | 'retry'
  /** Its pod is being deleted. */
  | 'stop'
  | 'end'
  /** Its message comes again: only a counter changes. */
  | 'requeue'
  /** Too many faults or crashes: the message is dead-lettered. */
  | 'give up';

/** What a worker does about a message. */
export type Action =
  /** Nothing is left to do. */
  | 'ack'
  /** The run is over: delete what may be left of its subscription. */
  | 'drop'
  /** This message made the stored state: repeat what that implies. */
  | 'announce'
  /** Begin the run. */
  | 'create'
  /** Become the owner, then carry the step out. */
  | 'take'
  /** Write the field `cancel` and leave the fence: the owner stops the run. */
  | 'mark'
  /** Write the final state. */
  | 'end';

/** Phases that no run leaves. */
export const TERMINAL_PHASES = ['Succeeded', 'Failed', 'Skipped', 'Cancelled'] as const satisfies readonly Phase[];

const TERMINAL: ReadonlySet<Phase> = new Set(TERMINAL_PHASES);

/** Whether a run in `phase` is over. */
export function isTerminal(phase: Phase): boolean {
  return TERMINAL.has(phase);
}

/** Conditions of the table. `decide` gives each its value. */
type Condition =
  | 'owned'
  | 'its attempt, and due'
  | 'its step'
  | 'its step, expired'
  | 'asked before'
  | 'no live pod'
  | 'a pod still going'
  | 'always';

/** A row of the table: what a message does in some phases. For each message the first row that applies counts. */
export interface MessageRow {
  /** `none`: there is no state yet. */
  readonly from: readonly (Phase | 'none')[];
  readonly on: Message;
  readonly when: Condition;
  readonly action: Action;
  /** Phases that the action may write; absent: the phase stays. */
  readonly to?: readonly Phase[];
}

/** A row of the table: in which phases the owner may make a change. */
export interface OwnerRow {
  readonly from: readonly Phase[];
  readonly on: OwnerChange;
  /** Absent: the phase stays. */
  readonly to?: readonly Phase[];
}

const LIVE_PHASES = ['Queued', 'Starting', 'Deferred', 'Resuming'] as const satisfies readonly Phase[];
/** Phases in which a worker carries a step out. */
const WORKING: readonly Phase[] = ['Starting', 'Resuming'];
/** Nothing is being carried out: the message that made such a state has only to announce it. */
const SETTLED: readonly Phase[] = ['Queued', 'Deferred', ...TERMINAL_PHASES];

/** What each message does; a message that no row names is acknowledged. */
export const MESSAGE_ROWS: readonly MessageRow[] = [
  { from: SETTLED, on: 'request', when: 'owned', action: 'announce' },
  { from: SETTLED, on: 'start', when: 'owned', action: 'announce' },
  { from: SETTLED, on: 'resume', when: 'owned', action: 'announce' },
  { from: SETTLED, on: 'cancel', when: 'owned', action: 'announce' },
  // A redelivery takes a step over where its worker died.
  { from: ['Starting'], on: 'start', when: 'owned', action: 'take', to: ['Starting'] },
  { from: ['Resuming'], on: 'resume', when: 'owned', action: 'take', to: ['Resuming'] },
  { from: ['Resuming'], on: 'cancel', when: 'owned', action: 'take', to: ['Resuming'] },

  { from: ['none'], on: 'request', when: 'always', action: 'create', to: ['Queued', 'Failed'] },
  { from: ['Queued'], on: 'start', when: 'its attempt, and due', action: 'take', to: ['Starting'] },
  { from: [...TERMINAL_PHASES, 'none'], on: 'start', when: 'always', action: 'drop' },
  { from: [...TERMINAL_PHASES, 'none'], on: 'resume', when: 'always', action: 'drop' },
  { from: ['Queued'], on: 'resume', when: 'its step, expired', action: 'end', to: ['Failed'] },
  { from: ['Deferred'], on: 'resume', when: 'its step', action: 'take', to: ['Resuming'] },
  { from: LIVE_PHASES, on: 'cancel', when: 'asked before', action: 'ack' },
  { from: ['Queued'], on: 'cancel', when: 'no live pod', action: 'end', to: ['Cancelled'] },
  { from: ['Queued'], on: 'cancel', when: 'a pod still going', action: 'take', to: ['Resuming'] },
  { from: ['Deferred'], on: 'cancel', when: 'always', action: 'take', to: ['Resuming'] },
  { from: WORKING, on: 'cancel', when: 'always', action: 'mark' },
];

/** What the owner of a run may make of it. */
export const OWNER_ROWS: readonly OwnerRow[] = [
  { from: ['Queued'], on: 'gate', to: ['Queued'] },
  { from: WORKING, on: 'defer', to: ['Deferred'] },
  { from: WORKING, on: 'block' },
  { from: ['Starting'], on: 'postpone', to: ['Queued'] },
  { from: WORKING, on: 'retry', to: ['Queued'] },
  { from: WORKING, on: 'stop', to: ['Deferred'] },
  { from: WORKING, on: 'end', to: TERMINAL_PHASES },
  { from: LIVE_PHASES, on: 'give up', to: ['Failed'] },
  { from: [...LIVE_PHASES, ...TERMINAL_PHASES], on: 'requeue' },
];

/** A message, as far as the choice of a row depends on it. */
export type StepMessage =
  | { readonly on: 'request' }
  | { readonly on: 'start'; readonly attempt: number }
  | { readonly on: 'resume'; readonly step: number; readonly event: Pick<TriggerEvent, 'kind' | 'reason'> }
  | { readonly on: 'cancel' };

/** The delivered message: its stream and sequence. */
export interface MessageId {
  readonly stream: string;
  readonly seq: number;
}

/** How much earlier than the run's time a `start` may arrive: the triggerer's clock may be ahead of ours. Its timers are exact to 250 ms. */
const EARLY_TOLERANCE_MS = 1_000;

/** Whether the fence names this message: only its redelivery may take over. */
export function owns(fence: Fence, message: MessageId): boolean {
  return fence.stream === message.stream && fence.seq === message.seq;
}

/** What a worker does about a message, given the state it has read. `now`: broker time, epoch milliseconds. */
export function decide(state: RunState | undefined, message: StepMessage, id: MessageId, now: number): Action {
  const sameStep = message.on === 'resume' && state?.step === message.step;
  const expired = message.on === 'resume' && message.event.kind === 'timeout' && message.event.reason === 'EXPIRED';
  const due = (state?.await?.notBefore ?? 0) <= now + EARLY_TOLERANCE_MS;
  const hasLivePod = state?.pod !== undefined && state.await?.gone === true;
  const holds: Readonly<Record<Condition, boolean>> = {
    owned: state !== undefined && owns(state.fence, id),
    'its attempt, and due': message.on === 'start' && state?.attempt === message.attempt && due,
    'its step': sameStep && !expired,
    'its step, expired': sameStep && expired,
    'asked before': state?.cancel !== undefined,
    'no live pod': !hasLivePod,
    'a pod still going': hasLivePod,
    always: true,
  };
  const phase = state?.phase ?? 'none';
  const row = MESSAGE_ROWS.find(({ from, on, when }) => on === message.on && from.includes(phase) && holds[when]);
  return row?.action ?? 'ack';
}

/** Actions that write a state. */
const WRITES: ReadonlySet<Action> = new Set(['create', 'take', 'mark', 'end']);
const WRITING_ROWS: readonly (Pick<MessageRow, 'from' | 'to'> & { readonly on: Message | OwnerChange })[] = [
  ...MESSAGE_ROWS.filter(({ action }) => WRITES.has(action)),
  ...OWNER_ROWS,
];

/** Whether the table lets `on` bring a run from one phase into another. Asked before every write. */
export function isAllowed(from: Phase | 'none', on: Message | OwnerChange, to: Phase): boolean {
  return WRITING_ROWS.some(
    (row) => row.on === on && row.from.includes(from) && (row.to === undefined ? from === to : row.to.includes(to)),
  );
}

/** The table as a Mermaid state diagram, for the README. Rows that leave the phase as it is are not drawn. */
export function stateDiagram(): string {
  const arrows = new Map<string, Set<string>>();
  for (const row of [...MESSAGE_ROWS, ...OWNER_ROWS]) {
    for (const source of row.from) {
      for (const target of row.to ?? []) {
        if (source === target) continue;
        const arrow = `${source === 'none' ? '[*]' : source} --> ${target}`;
        const labels = arrows.get(arrow) ?? new Set();
        labels.add('when' in row && row.when === 'its step, expired' ? 'expired' : row.on);
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
