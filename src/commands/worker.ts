import { readdirSync, readFileSync } from 'node:fs';
import { join, parse } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { parseYamlFile } from '../config.ts';
import type { Manifest } from '../ports.ts';
import { openPolicy } from './policy.ts';
import { roleProcess } from './roles.ts';
import type { BegunRole, RoleParts } from './roles.ts';
import { action, declare, ROLE_SETTINGS } from './shell.ts';
import type { Finish, Shell } from './shell.ts';

const DAY_MS = 24 * 3_600_000;

/** The pod templates of a folder by their files' names, with and without ending. @throws ReentryError CONFIG_INVALID for what is not YAML */
function templatesIn(folder: string | undefined): Readonly<Record<string, Manifest>> {
  const templates: Record<string, Manifest> = {};
  for (const file of folder === undefined ? [] : readdirSync(folder)) {
    const { name, ext } = parse(file);
    if (folder === undefined || !['.yaml', '.yml', '.json'].includes(ext)) continue;
    const path = join(folder, file);
    const template = z.record(z.string(), z.unknown()).parse(parseYamlFile(path, readFileSync(path, 'utf8')));
    templates[file] = template;
    templates[name] = template;
  }
  return templates;
}

/** The worker's role, bound to its settings. */
export async function beginWorker(): Promise<(parts: RoleParts) => BegunRole> {
  const [{ worker }, { podOperator }] = await Promise.all([
    import('../roles/worker.ts'),
    import('../operator/define-operator.ts'),
  ]);
  return ({ id, config, broker, clusters, log, meter, operators }) => {
    const { installation, namespaces, queues } = config;
    const podOptions = {
      podSecurity: config.podSecurity,
      podTemplates: templatesIn(config.templateFolder),
      policy: config.policy === undefined ? undefined : openPolicy(config.policy, log),
    };
    const work$ = worker({
      ...{ broker, clusters, log, meter },
      // A later one of the same name takes the earlier one's place.
      operators: [podOperator, ...operators].map((operator) => operator.with(podOptions)),
      settings: {
        ...{ id, installation, namespaces, queues },
        credits: {
          intake: config.intakeCredits,
          ctl: config.ctlCredits,
          resume: config.resumeCredits,
          start: config.startCredits,
        },
        retentionMs: config.runRetentionDays * DAY_MS,
      },
    });
    return { work$, condition: () => ({ alive: true, problems: [] }) };
  };
}

/** `reentry worker`: one worker process. */
export function workerCommand(shell: Shell, finish: Finish): Command {
  const command = declare({
    name: 'worker',
    says: 'take in runs, launch pods, resume runs; many may run',
    settings: [
      ...ROLE_SETTINGS,
      'queues',
      'intakeCredits',
      'startCredits',
      'resumeCredits',
      'ctlCredits',
      'podSecurity',
      'policy',
      'templateFolder',
      'operators',
      'runRetentionDays',
      'logRetentionDays',
    ],
    examples: [
      'reentry worker',
      'reentry worker --queues default,gpu --start-credits 64',
      'REENTRY_CONNECTIONS=clusters.yaml reentry worker',
    ],
  });
  return action(command, shell, finish, (invocation) => roleProcess('worker', invocation));
}
