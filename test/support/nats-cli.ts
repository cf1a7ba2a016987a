/** Replaces the `nats` command line in the manuals' examples: `pub SUBJECT BODY`, `req SUBJECT BODY` and `sub SUBJECT`, on $NATS_URL. */
import { connect } from 'nats';

const [verb, subject = '', body = ''] = process.argv.slice(2);
const connection = await connect({ servers: process.env['NATS_URL'] ?? 'nats://127.0.0.1:4222' });
if (verb === 'pub') {
  connection.publish(subject, body);
  await connection.flush();
  await connection.close();
} else if (verb === 'req') {
  const { data } = await connection.request(subject, body, { timeout: 5_000 });
  console.log(new TextDecoder().decode(data));
  await connection.close();
} else if (verb === 'sub') {
  for await (const message of connection.subscribe(subject)) console.log(`${message.subject}\n${message.string()}\n`);
} else {
  console.error(`only pub, req and sub are supported, not ${String(verb)}`);
  process.exit(2);
}
