import { expect, test } from 'vitest';
import { openLog } from '../../src/telemetry.ts';

test.each(['json', 'pretty'] as const)(
  'no secret field of a log line is written as %s, down to the third level',
  (logFormat) => {
    const written: string[] = [];
    const log = openLog({ logLevel: 'debug', logFormat }, 'worker', { write: (line) => void written.push(line) });
    for (const field of [
      'password',
      'pass',
      'secret',
      'token',
      'creds',
      'nkey',
      'env',
      'envVars',
      'authorization',
      'Authorization',
    ]) {
      const hidden = { [field]: 'hunter2' };
      log.info({ ...hidden, shown: 'seen', inner: { ...hidden, deeper: hidden } }, 'a line');
      log.child({ runId: 'r', ...hidden }).error({ err: { headers: hidden } }, 'another');
    }
    expect(written.join('')).not.toContain('hunter2');
    expect(written.join('').match(/seen/g)).toHaveLength(10);
  },
);
