import { expect, test } from 'vitest';
import { followContainers, type LiveSource } from '../../../src/operator/logs/live.ts';
import type { LogStore } from '../../../src/ports/stores.ts';
import { podObject, scriptedServer, sendJson, sendStatus } from '../../support/scripted-server.ts';
import { SILENT_LOG } from '../../../src/airflow/defaults.ts';

const nothingStored: LogStore = {
  end: () => Promise.resolve({ cursor: undefined, sequence: 0 }),
  append: () => Promise.resolve({ kind: 'wrongSequence' }),
  read: () => Promise.resolve({ chunks: [], next: undefined }),
};

test('the clean-up of a pod whose log is followed ends the log, and is no fault', async () => {
  let followed = false;
  await using server = await scriptedServer((asked, response) => {
    if (!asked.path.endsWith('/log')) {
      const state = { terminated: { exitCode: 0 } };
      sendJson(
        response,
        200,
        podObject('one', 'u1', '5', { status: { containerStatuses: [{ name: 'base', state }] } }),
      );
    } else if (followed) sendStatus(response, 404, 'NotFound', 'pods "one" not found');
    else {
      followed = true;
      response.end('2026-01-01T00:00:10Z hello\n');
    }
  });
  const received: string[] = [];
  const source: LiveSource = {
    cluster: await server.cluster({ backoffMs: [5, 20] }),
    pod: { connection: 'scripted', namespace: 'ns', name: 'one', uid: 'u1' },
    run: { tenant: 't', runId: 'r' },
    ...{ attempt: 1, logs: nothingStored, cursors: {}, log: SILENT_LOG, signal: new AbortController().signal },
    publish: ({ text }) => {
      received.push(text);
      return Promise.resolve();
    },
  };
  await followContainers(source, ['base']);
  expect(received.join('')).toContain('hello');
});
