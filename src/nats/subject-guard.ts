/** Refuses subjects that would inject commands into the NATS protocol. */
import type { NatsConnection } from 'nats';
import { ReentryError } from '../errors.ts';

/** Longest subject, in characters: three times the longest of this service, half of a server's largest protocol line (4 KiB). */
const MAX_SUBJECT_LENGTH = 2_048;
/** White space and control characters, which separate arguments and lines of the protocol. */
const UNSAFE = /[\s\p{Cc}]/u;

/**
 * Makes a connection refuse unsafe subjects. The library writes subjects into the protocol unescaped: text after a line break would be
 * executed as a command, with this process's permissions. JetStream calls go through the same methods.
 * @throws ReentryError (from `publish`, `request` and `subscribe`) INTERNAL, not transient
 */
export function refuseUnsafeSubjects(nc: NatsConnection): void {
  const publish = nc.publish.bind(nc);
  const request = nc.request.bind(nc);
  const subscribe = nc.subscribe.bind(nc);
  nc.publish = (subject, payload, options) => {
    // The library treats an empty reply as none.
    if (options?.reply !== undefined && options.reply !== '') checked(options.reply);
    publish(checked(subject), payload, options);
  };
  nc.request = async (subject, payload, options) => request(checked(subject), payload, options);
  nc.subscribe = (subject, options) => subscribe(checked(subject), options);
}

function checked(subject: string): string {
  if (subject.length <= MAX_SUBJECT_LENGTH && !UNSAFE.test(subject)) return subject;
  const shown = JSON.stringify(subject.slice(0, 100));
  throw new ReentryError('INTERNAL', `unsafe subject of ${String(subject.length)} characters refused: ${shown}`, {
    transient: false,
  });
}
