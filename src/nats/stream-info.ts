import { z } from 'zod';
import { CALL_TIMEOUT_MS } from './link.ts';
import type { Link } from './link.ts';
import { ReentryError } from '../errors.ts';

/** The library's type of this answer lacks `ts`, the server's clock (since 2.10). */
const answerSchema = z.looseObject({
  ts: z.string(),
  created: z.string(),
  config: z.looseObject({ max_bytes: z.number() }),
  state: z.looseObject({ bytes: z.number(), last_seq: z.number() }),
});

/** Size, end and clock of a stream, from its leader. */
export async function streamInfo({ nc }: Pick<Link, 'nc'>, stream: string) {
  const answer = await nc.request(`$JS.API.STREAM.INFO.${stream}`, '', { timeout: CALL_TIMEOUT_MS });
  const parsed = answerSchema.safeParse(answer.json());
  if (!parsed.success)
    throw new ReentryError('NATS_UNAVAILABLE', `stream ${stream} says nothing of itself; was \`reentry setup\` run?`, {
      transient: true,
      cause: parsed.error,
    });
  const { ts, created, config, state } = parsed.data;
  return {
    serverTimeMs: Date.parse(ts),
    bytes: state.bytes,
    /** -1: unlimited. */
    maxBytes: config.max_bytes,
    lastSequence: state.last_seq,
    /** When it was made: another value means another stream of the same name. */
    created,
  };
}
