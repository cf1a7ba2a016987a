/** The bucket of executor slots: one key per slot, written by compare-and-set. A freed slot keeps its key, so the bucket never grows beyond the slots. */
import { EMPTY, concatMap, of } from 'rxjs';
import { WIRE_VERSION } from '../core/wire-version.ts';
import type { SlotChange, SlotStore } from '../ports/stores.ts';
import { slotSchema } from '../wire/presence.ts';
import type { SlotRecord } from '../wire/presence.ts';
import { keys } from '../wire/subjects.ts';
import { keyValues } from './buckets.ts';
import type { Link } from './link.ts';
import { liveWatch$ } from './live-watch.ts';
import type { BucketSignal } from './live-watch.ts';
import { parseMessage } from './messages.ts';

/** Slots of executor queues. */
export function slotStore(link: Link): SlotStore {
  const entries = keyValues(link, link.assets.slotBucket);
  const text = new TextDecoder();
  return {
    changes$: (replica) =>
      liveWatch$(link, entries.bucket, replica).pipe(
        concatMap((signal) => {
          const change = slotChange(signal);
          if (change === undefined && signal.kind === 'put')
            link.log?.error({ key: signal.key }, 'ignoring a slot that cannot be read');
          return change === undefined ? EMPTY : of(change);
        }),
      ),
    async write(queue, slot, holder, expectedRevision) {
      const record: SlotRecord = { v: WIRE_VERSION, ...(holder === undefined ? {} : { holder }) };
      const json = JSON.stringify(record);
      const isOurs = (data: Uint8Array) => text.decode(data) === json;
      const outcome = await entries.compareAndSet(keys.slot(queue, slot), json, expectedRevision, isOurs);
      return outcome.kind === 'written' ? outcome.revision : undefined;
    },
  };
}

function slotChange(signal: BucketSignal): SlotChange | undefined {
  if (signal.kind === 'alive') return undefined;
  if (signal.kind === 'synced') return signal;
  const [queue = '', number = ''] = signal.key.split('.');
  if (!/^\d+$/.test(number)) return undefined;
  const slot = Number(number);
  if (signal.kind === 'deleted') return { kind: 'lost', queue, slot };
  try {
    const { holder } = parseMessage(slotSchema, signal.data, `slot ${signal.key}`);
    return { kind: 'slot', queue, slot, holder, revision: signal.revision };
  } catch {
    return undefined;
  }
}
