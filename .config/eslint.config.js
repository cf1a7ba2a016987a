// @ts-check
import { defineConfig } from 'eslint/config';
import rxjsX from 'eslint-plugin-rxjs-x';
import tseslint from 'typescript-eslint';
import words from './words.js';

/** Each room of `src/`, the rooms whose values it may not import, and why. Types may cross any wall: they cost nothing at run time. */
const WALLS = {
  core: {
    not: [
      'policy',
      'wire',
      'ports',
      'operator',
      'trigger',
      'queue',
      'slots',
      'worker',
      'airflow',
      'kubernetes',
      'nats',
      'local',
      'client',
      'roles',
      'process',
      'commands',
    ],
    libraries: ['rxjs', 'nats', 'undici', 'pino', 'zod', '@kubernetes/client-node'],
    why: 'core decides: no I/O, no clock, no library; effects belong to adapters',
  },
  policy: {
    not: [
      'operator',
      'trigger',
      'queue',
      'slots',
      'worker',
      'airflow',
      'kubernetes',
      'nats',
      'local',
      'client',
      'roles',
      'process',
      'commands',
    ],
    libraries: ['rxjs', 'nats', 'undici', '@kubernetes/client-node'],
    why: 'policy checks a final manifest: what launches a pod calls it, never the reverse',
  },
  wire: {
    not: [
      'policy',
      'operator',
      'trigger',
      'queue',
      'slots',
      'worker',
      'airflow',
      'kubernetes',
      'nats',
      'local',
      'client',
      'roles',
      'process',
      'commands',
    ],
    libraries: ['rxjs', 'nats', 'undici', '@kubernetes/client-node'],
    why: 'wire defines what crosses a process border; what sends or receives it imports it, never the reverse',
  },
  queue: {
    not: [
      'operator',
      'trigger',
      'slots',
      'worker',
      'airflow',
      'kubernetes',
      'nats',
      'local',
      'client',
      'roles',
      'process',
      'commands',
    ],
    libraries: ['nats', 'undici', '@kubernetes/client-node'],
    why: 'queue order is decided from values; triggerers and workers ask for it',
  },
  operator: {
    not: [
      'trigger',
      'queue',
      'slots',
      'worker',
      'airflow',
      'kubernetes',
      'nats',
      'local',
      'client',
      'roles',
      'process',
      'commands',
    ],
    libraries: ['nats', 'undici', '@kubernetes/client-node'],
    why: 'an operator reaches broker and cluster through ports/',
  },
  trigger: {
    not: [
      'operator',
      'slots',
      'worker',
      'airflow',
      'kubernetes',
      'nats',
      'local',
      'client',
      'roles',
      'process',
      'commands',
    ],
    libraries: ['nats', 'undici', '@kubernetes/client-node'],
    why: 'pipelines reach broker and cluster through ports/',
  },
  slots: {
    not: ['trigger', 'worker', 'airflow', 'kubernetes', 'nats', 'local', 'client', 'roles', 'process', 'commands'],
    libraries: ['nats', 'undici', '@kubernetes/client-node'],
    why: 'the limit of starts reaches broker and cluster through ports/',
  },
  worker: {
    not: ['airflow', 'kubernetes', 'nats', 'local', 'client', 'roles', 'process', 'commands'],
    libraries: ['nats', 'undici', '@kubernetes/client-node'],
    why: "the run protocol reaches broker and cluster through ports/; blocking runs are the triggerer's pipeline with one wait",
  },
  airflow: {
    not: ['worker', 'kubernetes', 'nats', 'local', 'client', 'roles', 'process', 'commands'],
    libraries: ['nats', 'undici', '@kubernetes/client-node'],
    why: "Airflow's library is built on operator and slots; the engine does not know it",
  },
  kubernetes: {
    not: [
      'policy',
      'operator',
      'trigger',
      'queue',
      'slots',
      'worker',
      'airflow',
      'nats',
      'local',
      'client',
      'roles',
      'process',
      'commands',
    ],
    libraries: ['nats'],
    why: 'an adapter translates; it knows no other adapter and decides nothing',
  },
  nats: {
    not: [
      'policy',
      'operator',
      'trigger',
      'queue',
      'slots',
      'worker',
      'airflow',
      'kubernetes',
      'local',
      'client',
      'roles',
      'process',
      'commands',
    ],
    libraries: ['undici', '@kubernetes/client-node'],
    why: 'an adapter translates; it knows no other adapter and decides nothing',
  },
  local: {
    not: [
      'policy',
      'operator',
      'trigger',
      'queue',
      'slots',
      'worker',
      'airflow',
      'kubernetes',
      'nats',
      'client',
      'roles',
      'process',
      'commands',
    ],
    libraries: ['nats', 'undici', '@kubernetes/client-node'],
    why: 'the local parts stand in for servers; our own clients must not leak into them',
  },
  client: {
    not: [
      'policy',
      'operator',
      'trigger',
      'queue',
      'slots',
      'worker',
      'airflow',
      'kubernetes',
      'local',
      'roles',
      'process',
      'commands',
    ],
    libraries: ['undici', '@kubernetes/client-node'],
    why: 'a client must not load a Kubernetes library or a role',
  },
  roles: {
    not: ['airflow', 'kubernetes', 'nats', 'local', 'client', 'process', 'commands'],
    libraries: ['nats', 'undici', '@kubernetes/client-node'],
    why: 'a role wires what it is given; adapters come in as arguments',
  },
  process: {
    not: ['local', 'client', 'commands'],
    libraries: ['nats', 'undici', '@kubernetes/client-node'],
    why: 'a process hosts roles; commands call it, never the reverse',
  },
};

const SUBSCRIBE = {
  selector: "CallExpression[callee.property.name='subscribe']",
  message:
    'Only run.ts and adapters subscribe: return the Observable, or its work is outside drain and error handling.',
};
const ENVIRONMENT = {
  selector: "MemberExpression[object.name='process'][property.name='env']",
  message: 'Only cli.ts reads the environment; take the setting as an argument (config.ts names them all).',
};

/** The rooms that may import from `airflow/`; all others not even its types. */
const ABOVE_AIRFLOW = new Set(['airflow', 'process']);
const AIRFLOW_IS_ABOVE = "Airflow's library is built on the engine; what both need belongs to operator/ or core/pod/.";

const wall = ([room, { not, libraries, why }]) => ({
  files: [`src/${room}/**/*.ts`],
  rules: {
    '@typescript-eslint/no-restricted-imports': [
      'error',
      {
        patterns: [
          { group: not.map((other) => `**/${other}/**`), allowTypeImports: true, message: `${why}.` },
          ...(ABOVE_AIRFLOW.has(room) ? [] : [{ group: ['**/airflow/**'], message: AIRFLOW_IS_ABOVE }]),
          { group: libraries.flatMap((name) => [name, `${name}/*`]), allowTypeImports: true, message: `${why}.` },
        ],
      },
    ],
  },
});

export default defineConfig(
  { ignores: ['dist/**', 'node_modules/**'] },
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.strictTypeChecked, rxjsX.configs.strict],
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: new URL('..', import.meta.url).pathname },
    },
    linterOptions: { reportUnusedDisableDirectives: 'error' },
    rules: {
      // The name says that a value is a stream; functions that return one have it too.
      'rxjs-x/finnish': [
        'error',
        { functions: true, methods: true, parameters: true, properties: true, variables: true, strict: false },
      ],
      // Asked for in Temporal's and our own reading: a stream that errors says with what, so every rejection is typed by hand anyway.
      'rxjs-x/throw-error': 'error',
      '@typescript-eslint/consistent-type-assertions': ['error', { assertionStyle: 'never' }],
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: false }],
      '@typescript-eslint/consistent-type-imports': 'error',
      // A string template over numbers is clear enough and never prints [object Object].
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // Ports are called through their object.
      '@typescript-eslint/unbound-method': 'off',
      'no-restricted-syntax': ['error', SUBSCRIBE, ENVIRONMENT],
    },
  },
  {
    files: ['src/**/*.ts', 'test/**/*.ts'],
    plugins: { reentry: { rules: { words } } },
    rules: { 'reentry/words': 'error' },
  },
  ...Object.entries(WALLS).map(wall),
  {
    files: ['src/run.ts', 'src/nats/**/*.ts', 'src/kubernetes/**/*.ts', 'src/local/**/*.ts'],
    rules: { 'no-restricted-syntax': ['error', ENVIRONMENT] },
  },
  { files: ['src/cli.ts'], rules: { 'no-restricted-syntax': ['error', SUBSCRIBE] } },
  {
    // Tests observe streams and set up environments; the rules about both are for the product.
    files: ['test/**/*.ts', '.config/**/*.ts'],
    rules: {
      'no-restricted-syntax': 'off',
      '@typescript-eslint/no-non-null-assertion': 'off',
      'rxjs-x/no-ignored-subscription': 'off',
      'rxjs-x/no-ignored-error': 'off',
      // Vitest's asymmetric matchers (`expect.any(…)`) are typed `any`.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      // `await using x` holds something open to the end of a test; no code has to read it.
      '@typescript-eslint/no-unused-vars': ['error', { ignoreUsingDeclarations: true }],
    },
  },
  { files: ['**/*.js'], extends: [tseslint.configs.disableTypeChecked] },
);
