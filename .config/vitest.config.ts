import { spawnSync } from 'node:child_process';
import { defineConfig } from 'vitest/config';

/** One project per folder of `test/`: what a test needs is its folder. */
const project = (
  name: string,
  options: {
    readonly testTimeout?: number;
    readonly hookTimeout?: number;
    readonly exclude?: string[];
    readonly maxWorkers?: number;
    readonly sequence?: { readonly groupOrder: number };
  } = {},
) => ({
  extends: true as const,
  test: { name, include: [`test/${name}/**/*.test.ts`], ...options },
});

/** Tests that start real servers wait more than they work: some files at a time, each with servers of its own, and patience for a slow start. */
const real = { testTimeout: 60_000, hookTimeout: 120_000, maxWorkers: 3, sequence: { groupOrder: 1 } };
/** Whole installations, killed and restarted, want the machine for themselves: last, one file at a time. */
const whole = { ...real, testTimeout: 300_000, maxWorkers: 1, sequence: { groupOrder: 2 } };

/** Suites that need what this machine may not have. They are left out as a whole, and it is said; CI brings what they need. */
const notRun = (what: string, why: string): [] => {
  process.stderr.write(`NOT RUN: ${what} (${why})\n`);
  return [];
};
const hasHelm = spawnSync(process.env['REENTRY_HELM'] ?? 'helm', ['version'], { stdio: 'ignore' }).status === 0;
const hasCluster = (process.env['KUBECONFIG'] ?? '') !== '';
const hasImage = hasCluster && process.env['REENTRY_TEST_IMAGE'] !== undefined;
const chart = hasHelm
  ? [
      project('helm', {
        ...real,
        exclude: [
          ...(hasCluster
            ? []
            : ['test/helm/cluster.test.ts', ...notRun('the chart on a real Kubernetes', 'no KUBECONFIG')]),
          ...(hasImage
            ? []
            : ['test/helm/install.test.ts', ...notRun('the image and its release', 'no REENTRY_TEST_IMAGE')]),
        ],
      }),
    ]
  : notRun('the tests of the chart', 'no helm: set REENTRY_HELM, or put helm 3.14 or newer on the PATH');

export default defineConfig({
  test: {
    root: new URL('..', import.meta.url).pathname,
    projects: [
      project('core'),
      project('wire'),
      project('policy'),
      project('docs'),
      project('queue'),
      project('trigger'),
      project('oracle'),
      project('parity'),
      project('operator', real),
      project('airflow', real),
      project('slots', real),
      project('worker', real),
      project('nats', real),
      project('kubernetes', real),
      project('local', real),
      project('client', real),
      project('roles', real),
      project('process'),
      project('commands', real),
      ...chart,
      project('contracts', whole),
      project('e2e', whole),
    ],
  },
});
