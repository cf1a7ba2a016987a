/** A service's check of a request is the same in every kind of process: clients cannot choose which one answers. */
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

describe('an executor’s check of a pod run', () => {
  test.each([
    ['without an image', {}, 'params.image'],
    ['with an unknown field', { image: 'alpine', imge: 'alpine' }, 'params.imge'],
    ['with a name that no pod can have', { image: 'alpine', name: 'a b' }, 'params.name'],
  ])('%s equals a worker’s', (_, params, path) => {
    const answer = checkRequest(EXECUTOR, { params }, run);
    expect(answer).toMatchObject({ kind: 'refused', problems: [{ path }] });
    expect(answer).toEqual(checkRequest(WORKER, { params }, run));
  });

  test.each([
    ['callbacks', { image: 'alpine', callbacks: 'Audit' }],
    ['a formatter', { image: 'alpine', logFormatter: 'short' }],
    ['a template, which may name the image', { podTemplateFile: 'big' }],
  ])('accepts %s: only workers are configured with them', (_, params) => {
    expect(checkRequest(EXECUTOR, { params }, run)).toMatchObject({ kind: 'valid' });
    expect(checkRequest(WORKER, { params }, run)).toMatchObject({ kind: 'refused' });
  });
});
