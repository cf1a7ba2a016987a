/** Hostile requests, as a table: a description, the bytes, and how the run must end. */

import { FENCED_RUNS } from './hostile-fenced.ts';
import { container, type End, type HostileRun, json, row, table } from './hostile-rows.ts';

/** A spec at every place where a request can bring one. */
const places: readonly (readonly [string, (spec: object) => object])[] = [
  ['a full pod spec', (spec) => ({ fullPodSpec: { spec: { containers: [container], ...spec } } })],
  ['a template', (spec) => ({ podTemplateDict: { spec: { containers: [container], ...spec } } })],
];

const securities: readonly (readonly [string, object])[] = [
  ['privilege', { privileged: true }],
  ['privilege as a text', { privileged: 'true' }],
  ['all capabilities', { capabilities: { add: ['ALL'] } }],
  ['one capability', { capabilities: { add: ['SYS_ADMIN'], drop: ['ALL'] } }],
  ['the host’s /proc', { procMount: 'Unmasked' }],
  ['no seccomp', { seccompProfile: { type: 'Unconfined' } }],
  ['no AppArmor', { appArmorProfile: { type: 'Unconfined' } }],
  ['a Windows host process', { windowsOptions: { hostProcess: true } }],
  ['another SELinux type', { seLinuxOptions: { type: 'spc_t' } }],
];

const inContainers = securities.flatMap(([what, securityContext]) => [
  row(`${what}, by parameter`, json({ containerSecurityContext: securityContext })),
  row(`${what}, in an init container`, json({ initContainers: [{ ...container, name: 'i', securityContext }] })),
  ...places.map(([place, put]) =>
    row(`${what}, in ${place}`, json(put({ containers: [{ ...container, securityContext }] }))),
  ),
]);

const ofPods: readonly (readonly [string, object])[] = [
  ['the host’s network', { hostNetwork: true }],
  ['the host’s processes', { hostPID: true }],
  ['the host’s memory', { hostIPC: true }],
  ['the host’s root', { volumes: [{ name: 'r', hostPath: { path: '/' } }] }],
  ['the container runtime', { volumes: [{ name: 'd', hostPath: { path: '/run/containerd/containerd.sock' } }] }],
  ['a kernel setting', { securityContext: { sysctls: [{ name: 'kernel.msgmax', value: '1' }] } }],
  ['a port of the host', { containers: [{ ...container, ports: [{ containerPort: 80, hostPort: 80 }] }] }],
  [
    'an ephemeral container with privilege',
    { ephemeralContainers: [{ name: 'e', image: 'a', securityContext: { privileged: true } }] },
  ],
  [
    'a call to another host',
    { containers: [{ ...container, livenessProbe: { httpGet: { host: '169.254.169.254', port: 80 } } }] },
  ],
];
const inPods = [
  ...ofPods.flatMap(([what, spec]) => places.map(([place, put]) => row(`${what}, in ${place}`, json(put(spec))))),
  row('the host’s network, by parameter', json({ hostnetwork: true })),
  row('a host path, by parameter', json({ volumes: [{ name: 'v', hostPath: { path: '/etc' } }] })),
  row('a port of the host, by parameter', json({ ports: [{ containerPort: 1, hostPort: 1 }] })),
  row(
    'finalizers',
    json({ fullPodSpec: { metadata: { finalizers: ['example.com/never'] }, spec: { containers: [container] } } }),
  ),
  row(
    'AppArmor off by annotation',
    json({ annotations: { 'container.apparmor.security.beta.kubernetes.io/base': 'unconfined' } }),
  ),
];

/** The text of a request with something written into it that no JSON writer would write. */
const raw = (inner: string): string => `{"params": {"image": "alpine", "cmds": ["true"], ${inner}}}`;
const full = (inner: string): string =>
  raw(`"fullPodSpec": {"spec": {"containers": [{"name": "base", "image": "alpine", "command": ["true"]}], ${inner}}}`);
const tricks = [
  row('prototype at the top', '{"__proto__": {"operator": "pod"}, "params": {"image": "alpine"}}'),
  row('prototype in params', raw('"__proto__": {"hostnetwork": true}')),
  row('prototype in a pod', full('"__proto__": {"hostNetwork": true}')),
  row('prototype in a label map', raw('"labels": {"__proto__": "x"}')),
  row('prototype in env', raw('"envVars": {"__proto__": "x"}')),
  row(
    'prototype in templates’ variables',
    '{"params": {"image": "alpine"}, "context": {"params": {"__proto__": {"x": 1}}}}',
  ),
  row('constructor', full('"constructor": {"prototype": {"hostPID": true}}')),
  row('prototype, escaped', full('"\\u005f_proto__": {"hostPID": true}')),
  row('a field, escaped', full('"host\\u004eetwork": true')),
  row('a field twice, the bad one last', full('"hostNetwork": false, "hostNetwork": true')),
  row('a field twice, the bad one first', full('"hostNetwork": true, "hostNetwork": false'), 'harmless'),
  row(
    'params twice',
    '{"params": {"image": "alpine", "cmds": ["true"]}, "params": {"image": "alpine", "hostnetwork": true}}',
  ),
  row('a field in another case', full('"HostNetwork": true')),
  row('a parameter in another case', raw('"hostNetwork": true')),
  row('a field in lower case', full('"hostpid": true')),
  row(
    'containers as a map',
    raw('"fullPodSpec": {"spec": {"containers": {"0": {"securityContext": {"privileged": true}}}}}'),
    'harmless', // what is no list is left out of the manifest
  ),
  row('volumes as a text', full('"volumes": "hostPath"')),
  row('a host path of another type', full('"volumes": [{"name": "x", "hostPath": ["/"]}]')),
  row('toJSON', full('"toJSON": "x"'), 'harmless'),
  row(
    'a manifest of another kind',
    raw(
      '"fullPodSpec": {"kind": "ClusterRoleBinding", "spec": {"containers": [{"name": "base", "image": "alpine", "command": ["true"]}]}}',
    ),
    'harmless',
  ),
];

const deep = (levels: number, open: string, close: string) => `${open.repeat(levels)}1${close.repeat(levels)}`;
const bytes = (...parts: readonly (string | readonly number[])[]) =>
  Buffer.concat(parts.map((part) => Buffer.from(typeof part === 'string' ? part : Uint8Array.from(part))));
const text = new TextEncoder();
const shapes = [
  ...table<readonly [string, string]>(
    [
      ['nothing', ''],
      ['null', 'null'],
      ['a number', '0'],
      ['a text', '"run"'],
      ['a list', '[]'],
      ['half a request', '{"params": {'],
      ['two requests', `${json({})}${json({})}`],
      ['a comment', `/* */${json({})}`],
      ['NaN', '{"retries": NaN}'],
      ['an infinite number', '{"executionTimeoutSeconds": 1e999, "params": {"image": "alpine"}}'],
      ['a thousand lists in each other', `{"context": {"params": ${deep(1_000, '{"a":', '}')}}}`],
      ['a hundred thousand lists in each other', `{"params": ${deep(100_000, '[', ']')}}`],
      ['eighty objects in each other', `{"params": {"image": "alpine", "affinity": ${deep(80, '{"a":', '}')}}}`],
      ['a megabyte less a little', json({ arguments: ['x'.repeat(900_000)] })],
      ['just over the limit', json({ arguments: ['x'.repeat(263_000)] })],
      [
        'a hundred thousand fields',
        `{"params": {${Array.from({ length: 60_000 }, (_, n) => `"f${String(n)}":1`).join()}}}`,
      ],
      ['a carriage of nulls', `{"params": {"image": "alpine", "cmds": [${'null,'.repeat(10_000)}null]}}`],
    ],
    (what, body) => row(what, body),
  ),
  row('a byte that is no UTF-8', bytes('{"params": {"image": "', [0xff], '"}}')),
  row('an overlong slash', bytes('{"params": {"image": "', [0xc0, 0xaf], '"}}')),
  row('half a surrogate pair in UTF-8', bytes('{"params": {"image": "', [0xed, 0xa0, 0x80], '"}}')),
  row('a cut sequence', bytes('{"params": {"image": "alpine', [0xe2, 0x82])),
  row('UTF-16', Buffer.from(json({}), 'utf16le')),
  row('zeroes', new Uint8Array(10_000)),
  row(
    'noise',
    Uint8Array.from({ length: 10_000 }, (_, n) => (n * 7919) % 256),
  ),
  row('a byte order mark', bytes([0xef, 0xbb, 0xbf], json({})), 'harmless'),
  row('a lone surrogate, escaped', raw('"arguments": ["\\ud800"]'), 'harmless'),
  row('a zero in a text', raw('"envVars": {"A": "x\\u0000y"}')),
  row('right-to-left marks in a name', raw('"labels": {"a": "\\u202eevil"}'), 'harmless'),
  row('as many bytes as are allowed', text.encode(json({ envVars: { A: 'x'.repeat(100_000) } })), 'harmless'),
];

const numbers = table<readonly [string, object, string]>(
  [
    ['retries', { retries: -1 }, 'retries'],
    ['retries', { retries: 1e9 }, 'retries'],
    ['retries', { retries: 0.5 }, 'retries'],
    ['a delay', { retryDelaySeconds: -5 }, 'retryDelaySeconds'],
    ['a delay', { maxRetryDelaySeconds: 1e18 }, 'maxRetryDelaySeconds'],
    ['a time-out', { executionTimeoutSeconds: 0 }, 'executionTimeoutSeconds'],
    ['a time-out', { executionTimeoutSeconds: '1' }, 'executionTimeoutSeconds'],
    ['an expiry', { expireSeconds: -1 }, 'expireSeconds'],
    ['a start', { startAfter: 'tomorrow' }, 'startAfter'],
    ['a start', { startAfter: '2026-99-99T00:00:00Z' }, 'startAfter'],
    ['an operator', { operator: '../pod' }, 'operator'],
    ['an operator', { operator: 'constructor' }, 'operator'],
    ['an operator', { operator: 'command' }, 'operator'],
    ['a tenant of its own', { tenant: 'other' }, 'tenant'],
    ['a run id of its own', { runId: 'other' }, 'runId'],
    ['annotations', { annotations: { a: 1 } }, 'annotations.a'],
  ],
  (what, envelope, path) => row(`${what}: ${JSON.stringify(envelope)}`, json({}, envelope), 'INVALID_REQUEST', path),
);

const forbiddenParams = table<readonly [string, object]>(
  [
    ['a kubeconfig', { configFile: '/etc/shadow' }],
    ['in-cluster credentials', { inCluster: true }],
    ['a context', { clusterContext: 'admin' }],
    ['a template outside its folder', { podTemplateFile: '../../../etc/passwd' }],
    ['a template by a reserved name', { podTemplateFile: 'constructor' }],
    ['a name with a path', { name: '../../kube-system/x' }],
    ['a name with a line feed', { name: 'a\nb' }],
    ['a connection that is not configured', { kubernetesConnId: 'http://169.254.169.254' }],
    ['a namespace with a path', { namespace: '../kube-system' }],
    ['a namespace with a query', { namespace: 'default?force=true' }],
  ],
  (what, more) =>
    row(
      what,
      json(more),
      what.includes('name with') || what.includes('connection') || what.includes('namespace')
        ? 'harmless'
        : 'INVALID_REQUEST',
    ),
);

const templates = table<readonly [string, string, End]>(
  [
    ['code', '{{ constructor.constructor("return process")() }}', 'INVALID_REQUEST'],
    ['a prototype', '{{ params.__proto__.polluted }}', 'INVALID_REQUEST'],
    ['a constructor', '{{ params.constructor.name }}', 'INVALID_REQUEST'],
    ['a file', "{% include '/etc/passwd' %}", 'INVALID_REQUEST'],
    ['another file', "{% render '../../etc/passwd' %}", 'INVALID_REQUEST'],
    ['a layout', "{% layout '/proc/self/environ' %}", 'INVALID_REQUEST'],
    ['a loop without end', '{% for i in (1..999999999) %}x{% endfor %}', 'INVALID_REQUEST'],
    [
      'loops in each other',
      '{% for i in (1..9999) %}{% for j in (1..9999) %}{% for k in (1..9999) %}x{% endfor %}{% endfor %}{% endfor %}',
      'INVALID_REQUEST',
    ],
    [
      'a text that doubles',
      '{% assign x = "xxxxxxxxxx" %}{% for i in (1..40) %}{% assign x = x | append: x %}{% endfor %}{{ x }}',
      'INVALID_REQUEST',
    ],
    ['an unknown variable', '{{ env.HOME }}', 'INVALID_REQUEST'],
    ['an unknown filter', '{{ "x" | shell }}', 'INVALID_REQUEST'],
    ['half a tag', '{% if ', 'INVALID_REQUEST'],
    ['other tenants', '{{ tenant }}', 'harmless'],
  ],
  (what, template, end) => row(`a template: ${what}`, json({ cmds: ['echo'], arguments: [template] }), end),
);
const rendered = [
  row(
    'a template that renders a host path',
    json({ volumes: [{ name: 'v', hostPath: { path: '{{ params.p }}' } }] }, { context: { params: { p: '/' } } }),
  ),
  row(
    'a rendered template in a spec',
    json(
      {
        fullPodSpec: {
          spec: { containers: [{ ...container, securityContext: { capabilities: { add: ['{{ params.c }}'] } } }] },
        },
      },
      { context: { params: { c: 'ALL' } } },
    ),
  ),
  row(
    'a rendered connection',
    json({ kubernetesConnId: '{{ params.c }}' }, { context: { params: { c: 'missing' } } }),
    'harmless',
  ),
  row(
    'a rendered image with blanks',
    json({ image: '{{ params.i }}' }, { context: { params: { i: 'alpine; rm -rf /' } } }),
    'harmless',
  ),
];

const labels = table<readonly [string, object]>(
  [
    ['a label of reentry’s', { labels: { 'reentry.dev/run': 'other', 'reentry.dev/installation': 'other' } }],
    ['our shard', { labels: { 'reentry.dev/shard': 'ff' } }],
    ['our annotations', { annotations: { 'reentry.dev/tenant': 'other', 'reentry.dev/run-id': 'other' } }],
    ['our mark', { labels: { already_checked: 'True' } }],
    ['a label of 10,000 letters', { labels: { a: 'x'.repeat(10_000) } }],
    ['a label with a selector', { labels: { 'a,b in (c)': 'x' } }],
    ['a label with a line feed', { labels: { a: 'b\nc: d' } }],
    ['a hundred labels', { labels: Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`l${String(n)}`, 'x'])) }],
    [
      'another uid',
      {
        fullPodSpec: {
          metadata: { uid: 'x', resourceVersion: '1', generateName: 'y' },
          spec: { containers: [container] },
        },
      },
    ],
    ['another name for the base container', { baseContainerName: '../base' }],
    [
      'variables that look like reentry’s',
      { envVars: { REENTRY_NATS_URL: 'nats://evil', KUBECONFIG: '/x', LD_PRELOAD: '/x.so' } },
    ],
  ],
  (what, more) => row(what, json(more), 'harmless'),
);
const contexts = table<readonly [string, object]>(
  [
    ['a DAG id with a path', { dagId: '../../x', taskId: '\u0000' }],
    ['a DAG id of one letter a hundred times over', { dagId: 'ä'.repeat(250), taskId: '/'.repeat(250) }],
    ['a date that is none', { logicalDate: "'; drop table runs; --" }],
    ['a map index', { mapIndex: -1, runId: '$(reboot)' }],
  ],
  (what, context) => row(what, json({}, { context }), 'harmless'),
);

const script = (text: string, more: object = {}): string => json({ cmds: ['sh', '-c'], arguments: [text], ...more });
const outputs = [
  row('20 MB of short lines', script('yes | head -c 20000000'), 'harmless'),
  row('one line of 10 MB', script("head -c 10000000 /dev/zero | tr '\\\\0' x"), 'harmless'),
  row('binary output', script('head -c 1000000 /dev/urandom'), 'harmless'),
  row(
    'output that looks like escape codes and times',
    script("printf '\\\\033[2J2026-01-01T00:00:00Z x\\\\r\\\\n'"),
    'harmless',
  ),
  row(
    'a result that is too large',
    script('head -c 100000 /dev/zero > /dev/termination-log', { doXcomPush: true, xcomMode: 'message' }),
    'harmless',
  ),
  row(
    'a result that is no JSON',
    script("echo '{' > /dev/termination-log", { doXcomPush: true, xcomMode: 'message' }),
    'harmless',
  ),
  row(
    'a result of lists in each other',
    script(`printf '${'['.repeat(1500)}${']'.repeat(1500)}' > /dev/termination-log`, {
      doXcomPush: true,
      xcomMode: 'message',
    }),
    'harmless',
  ),
  row(
    'a result with a prototype',
    script(`echo '{"__proto__": {"polluted": 1}}' > /dev/termination-log`, { doXcomPush: true, xcomMode: 'message' }),
    'harmless',
  ),
];

/** All of them. */
export const HOSTILE_RUNS: readonly HostileRun[] = [
  ...inContainers,
  ...inPods,
  ...tricks,
  ...shapes,
  ...numbers,
  ...forbiddenParams,
  ...templates,
  ...rendered,
  ...labels,
  ...contexts,
  ...FENCED_RUNS,
  ...outputs,
];
