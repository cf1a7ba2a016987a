/** A program that disposes its client during all its waits, and prints what is still open then. */
import { connect } from '../../src/client/index.ts';

const client = await connect({ servers: process.argv[2] ?? '' });
const waiting = client.waitFor('never').catch((error: unknown) => error);
client.events$('never').subscribe();
client.allEvents$().subscribe();
const follow = Array.fromAsync(client.logs('never', { follow: true }));
await client.status('never').catch(() => undefined);
await client[Symbol.asyncDispose]();
const error = await waiting;
await follow;
// The socket closes a moment later; the library does not wait for it.
await new Promise((resolve) => setImmediate(resolve));
const code = error instanceof Error && 'code' in error ? String(error.code) : 'none';
process.stdout.write([code, ...process.getActiveResourcesInfo()].join(','));
