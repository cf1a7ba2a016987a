import { expect, test } from 'vitest';
import { DEFAULT_CONFIG } from '../../src/config.ts';
import { type Condition, openHealth } from '../../src/process/health.ts';
import { openLog, openTelemetry } from '../../src/telemetry.ts';

test('/healthz and /readyz return the condition and its problems, ready or not', async () => {
  const telemetry = openTelemetry(openLog(DEFAULT_CONFIG, 'test', { write: () => undefined }));
  await using health = await openHealth({ host: '127.0.0.1', port: 0, telemetry });
  const page = async (path: string) => {
    const reply = await fetch(`http://127.0.0.1:${String(health.port)}${path}`);
    return `${String(reply.status)} ${await reply.text()}`;
  };
  const pages = async (condition?: Condition) => {
    if (condition !== undefined) health.watch(() => condition);
    return [await page('/healthz'), await page('/readyz')];
  };
  expect(await pages()).toEqual(['200 ok\n', '503 starting\n']);
  expect(await pages({ alive: true, ready: true, problems: [] })).toEqual(['200 ok\n', '200 ready\n']);
  expect(await pages({ alive: true, ready: true, problems: ['connection eu is unreachable'] })).toEqual([
    '200 ok\n',
    '200 ready\nconnection eu is unreachable\n',
  ]);
  expect(await pages({ alive: false, ready: false, problems: ['the janitor ended by itself'] })).toEqual([
    '503 not alive\nthe janitor ended by itself\n',
    '503 the janitor ended by itself\n',
  ]);
});
