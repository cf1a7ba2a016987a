import { describe, expect, test } from 'vitest';
import { cloudEvent, cloudEventSchema, eventStepOf, eventTypeOf } from '../../src/wire/events.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import { listRequestSchema, logsRequestSchema } from '../../src/wire/services.ts';
import { asyncApi, messageSchemas, requestSchema } from '../../src/wire/schema.ts';
import { EVENT_TYPES, VERBS } from '../../src/wire/subjects.ts';
import { layoutOf, streamTable } from '../../src/wire/streams.ts';
import { DEFAULTS } from '../support/defaults.ts';

const run = { tenant: 'sales', runId: 'load.1' };
const at = Date.UTC(2026, 0, 2, 3, 4, 5, 6);

describe('message schemas', () => {
  for (const [name, schema] of Object.entries(messageSchemas()))
    test(`${name} changes in review only`, () => {
      expect(schema).toMatchSnapshot();
    });

  test('a request with an unknown field is refused with its path', () => {
    const result = runRequestSchema.safeParse({ operator: 'pod', retrys: 2 });
    expect(result.error?.issues).toMatchObject([{ code: 'unrecognized_keys', keys: ['retrys'], path: [] }]);
  });

  test.each([
    ['list', listRequestSchema, { after: -1 }],
    ['list', listRequestSchema, { after: 0.5 }],
    ['list', listRequestSchema, { limit: 0 }],
    ['logs', logsRequestSchema, { runId: 'r', after: -1 }],
    ['logs', logsRequestSchema, { runId: 'r', attempt: -1 }],
    ['logs', logsRequestSchema, { runId: 'r', container: '' }],
    ['logs', logsRequestSchema, { runId: 'r', container: 'c'.repeat(254) }],
  ])('%s refuses invalid positions: %#', (_, schema, request) => {
    expect(schema.safeParse(request).success).toBe(false);
  });

  test('the request schema names no default as required', () => {
    expect(requestSchema()).not.toHaveProperty('required');
  });
});

describe('CloudEvents', () => {
  test('an event has the fields of the contract', () => {
    const data = { ...run, attempt: 1, step: 3, at: new Date(at).toISOString() };
    expect(cloudEvent(run, 'launched', 3, data, at)).toEqual({
      specversion: '1.0',
      id: 'sales/load.1/3/launched',
      source: 'reentry/sales',
      type: 'dev.reentry.run.launched.v1',
      subject: 'load.1',
      time: '2026-01-02T03:04:05.006Z',
      datacontenttype: 'application/json',
      data,
    });
  });

  test('the source is a URI reference for any tenant name', () => {
    const tenant = 'Søren & söner %/';
    const data = { tenant, runId: 'r', attempt: 1, step: 0, at: new Date(at).toISOString() };
    const { source } = cloudEvent({ tenant, runId: 'r' }, 'accepted', 0, data, at);
    expect(source).toMatch(/^reentry\/[!-~]+$/);
    expect(decodeURIComponent(source)).toBe(`reentry/${tenant}`);
  });

  test.each(EVENT_TYPES)('%s is read back by its schema', (type) => {
    const data =
      type === 'completed'
        ? { ...run, state: 'succeeded' as const, attempt: 1, timings: {} }
        : { ...run, attempt: 1, step: 3, at: new Date(at).toISOString() };
    const event = cloudEventSchema.parse(cloudEvent(run, type, 3, data, at));
    expect([eventTypeOf(event), eventStepOf(event), event.data]).toEqual([type, 3, data]);
  });
});

describe('AsyncAPI document', () => {
  const document = asyncApi('reentry.v1', '0.0.0');

  test('every reference resolves', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/([^"]+)"/g)].map(([, path]) => path ?? '');
    expect(references.length).toBeGreaterThan(20);
    for (const path of references) {
      let target: unknown = document;
      for (const part of path.split('/'))
        target =
          typeof target === 'object' && target !== null
            ? Object.entries(target).find(([key]) => key === part)?.[1]
            : undefined;
      expect(target, path).toBeDefined();
    }
  });

  test('every verb has a channel and a reply', () => {
    for (const verb of VERBS)
      expect(Object.keys(document.channels)).toEqual(expect.arrayContaining([verb, `${verb}Reply`]));
  });
});

describe('stream table', () => {
  test('changes in review only', () => {
    const settings = {
      ...DEFAULTS.streams,
      workerQueues: ['default', 'gpu'],
      executorQueues: ['executor'],
      subscribers: [{ tenant: 'a.b', name: 'billing' }],
    };
    expect(streamTable(layoutOf('reentry.v1', 'REENTRY_'), settings)).toMatchSnapshot();
  });

  test('all streams together keep to the storage they were given', () => {
    const { streams } = streamTable(layoutOf('r', 'P_'), { ...DEFAULTS.streams, storageBytes: 1_000_000 });
    expect(streams.reduce((sum, { maxBytes }) => sum + maxBytes, 0)).toBeLessThanOrEqual(1_000_000);
  });

  test('no lane of one queue can be mistaken for another queue', () => {
    const { consumers } = streamTable(layoutOf('r', 'P_'), {
      ...DEFAULTS.streams,
      workerQueues: ['a', 'a_ctl', 'ctl', 'ctl_a'],
    });
    const names = consumers.map(({ stream, name }) => `${stream}/${name}`);
    expect(new Set(names).size).toBe(names.length);
  });
});
