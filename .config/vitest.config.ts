import { spawnSync } from 'node:child_process';
import { defineConfig } from 'vitest/config';

/** A project for a folder of `test/`: what a test needs is its folder. */
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

/**
 * Folders whose tests need no server. One project for all of them, on one thread without isolation: every module is loaded once, which was two
 * thirds of their time. The time-out is for a busy machine; none takes a second.
 */
const withoutServer = ['core', 'wire', 'policy', 'queue', 'trigger', 'oracle', 'parity', 'process', 'docs'];
const unit = {
  extends: true as const,
  test: {
    name: 'unit',
    include: withoutServer.map((name) => `test/${name}/**/*.test.ts`),
    pool: 'threads' as const,
    isolate: false,
    // Node strips the types by itself, which costs less than Vite's transformation.
    experimental: { viteModuleRunner: false },
    maxWorkers: 1,
    testTimeout: 20_000,
  },
};

/** Tests that start real servers wait more than they work: some files at a time, each with servers of its own, with long time-outs for a slow start. */
const real = { testTimeout: 60_000, hookTimeout: 120_000, maxWorkers: 3, sequence: { groupOrder: 1 } };
/** Whole installations, killed and restarted, need the whole machine: last, one file at a time. */
const whole = { ...real, testTimeout: 300_000, maxWorkers: 1, sequence: { groupOrder: 2 } };

/** Suites whose needs this machine may lack. They are left out as a whole, with a message; CI has what they need. */
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
      unit,
      project('operator', real),
      project('airflow', real),
      project('slots', real),
      project('worker', real),
      project('nats', real),
      project('kubernetes', real),
      project('local', real),
      project('client', real),
      project('roles', real),
      project('commands', real),
      ...chart,
      project('contracts', whole),
      project('e2e', whole),
      project('faults', whole),
    ],
  },
});
