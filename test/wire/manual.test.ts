/** The manual of the wire names every verb, event type and field, and its examples are valid messages. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { z } from 'zod';
import { completedDataSchema } from '../../src/wire/events.ts';
import { runRequestSchema } from '../../src/wire/run-request.ts';
import {
  cancelRequestSchema,
  listRequestSchema,
  logsRequestSchema,
  renderRequestSchema,
  resultRequestSchema,
  retryRequestSchema,
  runQuerySchema,
  serviceReplySchema,
  submitRequestSchema,
} from '../../src/wire/services.ts';
import { EVENT_TYPES, VERBS, type Verb } from '../../src/wire/subjects.ts';

const manual = readFileSync(new URL('../../src/wire/README.md', import.meta.url), 'utf8');

/** The text below a heading, up to the next one of its level or above. */
function section(title: string): string {
  const found = new RegExp(`^(#+) ${title}$`, 'm').exec(manual);
  if (found === null) throw new Error(`the manual has no section ${title}`);
  const [heading, level = ''] = found;
  const rest = manual.slice(found.index + heading.length);
  const end = rest.search(new RegExp(`^#{1,${String(level.length)}} `, 'm'));
  return end < 0 ? rest : rest.slice(0, end);
}

/** The JSON examples of a section, in order; comments and trailing commas are allowed as the manual writes them. */
const examples = (title: string): readonly unknown[] =>
  [...section(title).matchAll(/^```jsonc?\n([^]*?)^```/gm)].map(([, text = '']): unknown =>
    JSON.parse(
      text
        .replaceAll(/ \/\/.*$/gm, '')
        .replaceAll(/^\s*\/\/.*$/gm, '')
        .replaceAll(/,(\s*[}\]])/g, '$1'),
    ),
  );

test('every verb has its section', () => {
  const titles = [...section('Services').matchAll(/^#### (\w+)$/gm)].map(([, title]) => title);
  expect(titles.toSorted()).toEqual([...VERBS].toSorted());
});

test('every event type has its row', () => {
  const rows = [...section('Lifecycle events').matchAll(/^\| `(\w+)` +\| .* \| .* \|$/gm)].map(([, type]) => type);
  expect(rows).toEqual([...EVENT_TYPES]);
});

test('the run request shows every field', () => {
  const [request] = examples('Asking for a run');
  expect(runRequestSchema.parse(request)).toMatchObject({ retries: 2 });
  expect(Object.keys(z.looseObject({}).parse(request)).toSorted()).toEqual(
    Object.keys(runRequestSchema.shape).toSorted(),
  );
});

test('the completed event shows existing fields only', () => {
  const [event] = examples('Lifecycle events');
  const { data } = z.looseObject({ data: z.looseObject({}) }).parse(event);
  expect(completedDataSchema.parse(data)).toMatchObject({ state: 'succeeded' });
  expect(Object.keys(data).filter((name) => !(name in completedDataSchema.shape))).toEqual([]);
});

const REQUESTS = {
  submit: submitRequestSchema,
  retry: retryRequestSchema,
  status: runQuerySchema,
  cancel: cancelRequestSchema,
} satisfies Partial<Record<Verb, z.ZodObject>>;

test.each(Object.entries(REQUESTS))('the example of %s is a request and its reply', (verb, schema) => {
  const [request, reply] = examples(verb);
  expect(schema.safeParse(request).error?.issues).toBeUndefined();
  expect(serviceReplySchema.safeParse(reply).error?.issues).toBeUndefined();
});

const FIELDS = {
  ...REQUESTS,
  list: listRequestSchema,
  logs: logsRequestSchema,
  result: resultRequestSchema,
  explain: runQuerySchema,
  render: renderRequestSchema,
} satisfies Record<Verb, z.ZodObject>;

test.each(Object.entries(FIELDS))('every field that %s takes is in its section', (verb, { shape }) => {
  const text = section(verb);
  for (const name of Object.keys(shape)) expect(text).toMatch(new RegExp('[`"]' + name + '[`"]'));
});
