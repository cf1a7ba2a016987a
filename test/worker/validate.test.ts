/** What a service says of a request, whichever kind of process answers: clients cannot choose. */
import { describe, expect, test } from 'vitest';
import { CommandOperator } from '../../src/operator/command-operator.ts';
import { podOperator } from '../../src/operator/define-operator.ts';
import type { Operator } from '../../src/operator/operator.ts';
import { checkRequest } from '../../src/worker/services/validate.ts';
import { DEFAULTS } from '../support/defaults.ts';

const byName = (operator: Operator<unknown>) => new Map([[operator.name, operator]]);
const [pods, commands] = [byName(podOperator.with(DEFAULTS.pod)), byName(new CommandOperator(DEFAULTS.command))];
const WORKER = { operators: pods, foreign: commands };
const EXECUTOR = { operators: commands, foreign: pods };
const run = { tenant: 't', runId: 'r' };

describe('an executor says of a pod run', () => {
  test.each([
    ['without an image', {}, 'params.image'],
    ['with an unknown field', { image: 'alpine', imge: 'alpine' }, 'params.imge'],
    ['with a name that no pod can have', { image: 'alpine', name: 'a b' }, 'params.name'],
  ])('%s what a worker says', (_, params, path) => {
    const said = checkRequest(EXECUTOR, { params }, run);
    expect(said).toMatchObject({ kind: 'refused', problems: [{ path }] });
    expect(said).toEqual(checkRequest(WORKER, { params }, run));
  });

  test.each([
    ['callbacks', { image: 'alpine', callbacks: 'Audit' }],
    ['a formatter', { image: 'alpine', logFormatter: 'short' }],
    ['a template, which may name the image', { podTemplateFile: 'big' }],
  ])('nothing against %s: only workers are configured with them', (_, params) => {
    expect(checkRequest(EXECUTOR, { params }, run)).toMatchObject({ kind: 'valid' });
    expect(checkRequest(WORKER, { params }, run)).toMatchObject({ kind: 'refused' });
  });
});
