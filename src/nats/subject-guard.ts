import type { NatsConnection } from 'nats';
import { ReentryError } from '../errors.ts';

/** Longest subject, in characters: three times what the longest of ours can be, half of what a server takes as one protocol line (4 KiB). */
const MAX_SUBJECT_LENGTH = 2_048;
/** What ends a word or a line of the protocol, and what has no place in either. */
const BREAKS = /[\s\p{Cc}]/u;

/**
 * Makes a connection refuse subjects that are more than one word of the protocol. The library writes a subject into the protocol line as it
 * is: a line break in one would be whatever follows it, said with our permissions. Everything goes through here, JetStream's calls too.
 * @throws ReentryError (from `publish`, `request` and `subscribe`) INTERNAL, not transient
 */
export function refuseUnsafeSubjects(nc: NatsConnection): void {
  const publish = nc.publish.bind(nc);
  const request = nc.request.bind(nc);
  const subscribe = nc.subscribe.bind(nc);
  nc.publish = (subject, payload, options) => {
    // An empty reply is none to the library.
    if (options?.reply !== undefined && options.reply !== '') checked(options.reply);
    publish(checked(subject), payload, options);
  };
  nc.request = async (subject, payload, options) => request(checked(subject), payload, options);
  nc.subscribe = (subject, options) => subscribe(checked(subject), options);
}

function checked(subject: string): string {
  if (subject.length <= MAX_SUBJECT_LENGTH && !BREAKS.test(subject)) return subject;
  const shown = JSON.stringify(subject.slice(0, 100));
  throw new ReentryError('INTERNAL', `refusing a subject of ${String(subject.length)} characters: ${shown}`, {
    transient: false,
  });
}
