import { expect, test } from 'vitest';
import { CommandOperator } from '../../src/operator/command-operator.ts';
import { podOperator } from '../../src/operator/define-operator.ts';
import { checkRequest } from '../../src/worker/services/validate.ts';
import { DEFAULTS } from '../support/defaults.ts';

const pod = new Map([['pod', podOperator.with(DEFAULTS.pod)]]);
const command = new Map([['command', new CommandOperator(DEFAULTS.command)]]);
const run = { tenant: 't', runId: 'r' };

test.each([
  ['callbacks', { callbacks: ['notify'] }],
  ['a log formatter', { logFormatter: 'short' }],
  ['a template', { podTemplateFile: 'big' }],
])('an executor that answers a submit does not check %s of the workers', (_, params) => {
  const request = { operator: 'pod', params: { image: 'alpine', ...params } };
  expect(checkRequest({ operators: command, foreign: pod }, request, run).kind).toBe('valid');
  expect(checkRequest({ operators: pod, foreign: command }, request, run).kind).toBe('refused');
});
