import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHash } from 'node:crypto';
import { nkeys } from 'nats';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connectNats } from '../../src/nats/connection.ts';
import { startNatsServer } from '../../src/local/nats-server.ts';
import { aNatsServer, natsServerProgram } from '../support/nats-server.ts';

/** The library gives its key pairs without types. */
interface KeyPair {
  getPublicKey(): string;
  getSeed(): Uint8Array;
  sign(data: Uint8Array): Uint8Array;
}
const keys: { createOperator(): KeyPair; createAccount(): KeyPair; createUser(): KeyPair } = nkeys;

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'reentry-rotation-'));
});
afterAll(async () => {
  await rm(folder, { recursive: true });
});

const text = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A signed claim, as nats-server reads it (ADR-14). */
function jwt(
  signer: KeyPair,
  subject: KeyPair,
  type: 'operator' | 'account' | 'user',
  nats: object,
  exp?: number,
): string {
  const claims = {
    ...{ iat: Math.floor(Date.now() / 1000), iss: signer.getPublicKey(), sub: subject.getPublicKey(), name: type },
    ...(exp === undefined ? {} : { exp }),
    nats: { type, version: 2, ...nats },
  };
  const jti = createHash('sha256').update(JSON.stringify(claims)).digest('hex');
  const body = `${text({ typ: 'JWT', alg: 'ed25519-nkey' })}.${text({ jti, ...claims })}`;
  return `${body}.${Buffer.from(signer.sign(new TextEncoder().encode(body))).toString('base64url')}`;
}

/** Replaces the files atomically, as a mounted Secret changes. */
async function put(file: string, content: string): Promise<void> {
  await writeFile(`${file}.new`, content);
  await rename(`${file}.new`, file);
}

test('a rotated credentials file is used when the old one expires', async () => {
  const [operator, account, system] = [keys.createOperator(), keys.createAccount(), keys.createAccount()];
  const limits = { subs: -1, data: -1, payload: -1 };
  const ofAccount = { limits: { ...limits, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 } };
  const preload = [account, system].map((one) => `${one.getPublicKey()}: ${jwt(operator, one, 'account', ofAccount)}`);
  const file = join(folder, 'role.creds');
  const creds = (user: KeyPair, exp?: number) => {
    const token = jwt(account, user, 'user', { ...limits, pub: {}, sub: {} }, exp);
    const seed = new TextDecoder().decode(user.getSeed());
    return `-----BEGIN NATS USER JWT-----\n${token}\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n${seed}\n------END USER NKEY SEED------\n`;
  };
  await using server = await aNatsServer({
    config: [
      `operator: ${jwt(operator, operator, 'operator', {})}`,
      'resolver: MEMORY',
      `system_account: ${system.getPublicKey()}`,
      `resolver_preload: { ${preload.join(', ')} }`,
    ].join('\n'),
  });
  const [first, second] = [keys.createUser(), keys.createUser()];
  await put(file, creds(first, Math.floor(Date.now() / 1000) + 2));
  await using connection = await connectNats({ servers: server.url, credsFile: file, role: 'worker', name: 'w' });
  const whoAmI = async (): Promise<unknown> => {
    const answer = await connection.nc.request('$SYS.REQ.USER.INFO', undefined, { timeout: 1_000 });
    const { data }: { data: { user: string } } = answer.json();
    return data.user;
  };
  const seen: boolean[] = [];
  connection.connected$.subscribe((up) => seen.push(up));
  expect(await whoAmI()).toBe(first.getPublicKey());
  await put(file, creds(second));
  await expect
    .poll(() => whoAmI().catch(() => undefined), { timeout: 20_000, interval: 100 })
    .toBe(second.getPublicKey());
  expect(seen).toEqual([true, false, true]);
});

test('a rotated password file is used at the next reconnect, also after failed ones', async () => {
  const program = await natsServerProgram();
  const config = (pass: string) => `authorization { user: u, password: ${pass} }`;
  const directory = join(folder, 'password');
  const file = join(folder, 'password.txt');
  await put(file, 'one\n');
  const before = await startNatsServer({ program, directory, config: config('one') });
  await using connection = await connectNats({
    servers: before.url,
    user: 'u',
    passFile: file,
    role: 'worker',
    name: 'w',
  });
  await rm(file);
  await before.kill();
  await expect.poll(() => connection.isConnected()).toBe(false);
  await put(file, 'two\n');
  await using after = await startNatsServer({ program, directory, port: before.port, config: config('two') });
  await expect.poll(() => connection.isConnected(), { timeout: 20_000 }).toBe(true);
  await connection.nc.flush();
  expect(after.port).toBe(before.port);
});

test('a missing file is an error in the settings', async () => {
  const options = { servers: 'nats://127.0.0.1:4', role: 'worker', name: 'w' } as const;
  await expect(connectNats({ ...options, credsFile: join(folder, 'none') })).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
  });
});
