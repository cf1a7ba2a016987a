/** Hostile requests to services, as a table. */

const params = { image: 'alpine', cmds: ['true'] };

/** Requests to services; run `victim` belongs to tenant `fenced`. */
export const HOSTILE_ASKS: readonly (readonly [
  what: string,
  verb: string,
  tenant: string,
  body: string,
  code: RegExp,
])[] = [
  ...['status', 'cancel', 'logs', 'result', 'explain'].map(
    (verb) => [`${verb} of another tenant’s run`, verb, 'default', '{"runId":"victim"}', /NOT_FOUND/] as const,
  ),
  ['a tenant in the body', 'status', 'default', '{"runId":"victim","tenant":"fenced"}', /INVALID_REQUEST|NOT_FOUND/],
  ['a key with a dot', 'status', 'default', '{"runId":"x.fenced.victim"}', /NOT_FOUND/],
  ['a key with a wildcard', 'status', 'default', '{"runId":"*"}', /NOT_FOUND/],
  ['a key with the other wildcard', 'cancel', 'default', '{"runId":">"}', /NOT_FOUND/],
  ['a path', 'result', 'default', '{"runId":"../fenced/victim"}', /NOT_FOUND/],
  [
    'a run id of a megabyte less a little',
    'status',
    'default',
    JSON.stringify({ runId: 'x'.repeat(900_000) }),
    /NOT_FOUND|INVALID_REQUEST|TOO_LARGE/,
  ],
  ['no run id', 'cancel', 'default', '{}', /INVALID_REQUEST/],
  ['a run id of another type', 'logs', 'default', '{"runId":{"toString":1}}', /INVALID_REQUEST/],
  ['a prototype', 'status', 'default', '{"__proto__":{"runId":"victim"}}', /INVALID_REQUEST/],
  ['no JSON', 'list', 'default', '{', /INVALID_REQUEST/],
  ['a page of a billion', 'list', 'default', '{"limit":1000000000}', /INVALID_REQUEST/],
  ['a page of less than none', 'list', 'default', '{"limit":-1}', /INVALID_REQUEST/],
  ['an offset before the start', 'result', 'default', '{"runId":"x","offset":-1}', /INVALID_REQUEST/],
  [
    'a reason of half a megabyte',
    'cancel',
    'default',
    JSON.stringify({ runId: 'x', reason: 'y'.repeat(500_000) }),
    /INVALID_REQUEST/,
  ],
  ['a queue with a dot', 'submit', 'default', JSON.stringify({ queue: 'a.b', request: {} }), /INVALID_REQUEST/],
  ['a queue that is not there', 'submit', 'default', JSON.stringify({ queue: 'nowhere', request: { params } }), /.+/],
  ['an empty run id', 'submit', 'default', JSON.stringify({ runId: '', request: { params } }), /INVALID_REQUEST/],
  [
    'privilege',
    'submit',
    'default',
    JSON.stringify({ request: { params: { ...params, hostnetwork: true } } }),
    /INVALID_REQUEST/,
  ],
  [
    'what the policy forbids',
    'submit',
    'fenced',
    JSON.stringify({ request: { params: { ...params, image: 'evil' } } }),
    /INVALID_REQUEST/,
  ],
  [
    'a manifest with privilege',
    'render',
    'default',
    JSON.stringify({ request: { params: { ...params, fullPodSpec: { spec: { hostPID: true } } } } }),
    /INVALID_REQUEST/,
  ],
];
