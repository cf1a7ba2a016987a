import { badRequest } from './failure.ts';
import { isJsonObject, isList, textAt, type JsonObject } from './objects.ts';

/** A message's fields by number. */
type Message = Readonly<Record<number, Field>>;

interface Field {
  readonly name: string;
  readonly type: 'text' | 'bytes' | 'number' | 'texts' | 'textMap' | 'bytesMap' | Message;
}

const text = (name: string): Field => ({ name, type: 'text' });
const number = (name: string): Field => ({ name, type: 'number' });
const message = (name: string, fields: Message): Field => ({ name, type: fields });

const METADATA = message('metadata', {
  1: text('name'),
  2: text('generateName'),
  3: text('namespace'),
  5: text('uid'),
  6: text('resourceVersion'),
  11: { name: 'labels', type: 'textMap' },
  12: { name: 'annotations', type: 'textMap' },
  14: { name: 'finalizers', type: 'texts' },
});

/**
 * The kinds that kubectl sends as protobuf, with the fields that it sets.
 * @see generated.proto of each group in Kubernetes' staging/src/k8s.io/api
 */
const KINDS: Readonly<Record<string, Message>> = {
  Namespace: { 1: METADATA },
  ServiceAccount: { 1: METADATA },
  ConfigMap: { 1: METADATA, 2: { name: 'data', type: 'textMap' }, 3: { name: 'binaryData', type: 'bytesMap' } },
  Secret: {
    1: METADATA,
    2: { name: 'data', type: 'bytesMap' },
    3: text('type'),
    4: { name: 'stringData', type: 'textMap' },
  },
  SelfSubjectReview: { 1: METADATA },
  SelfSubjectAccessReview: {
    1: METADATA,
    2: message('spec', {
      1: message('resourceAttributes', {
        1: text('namespace'),
        2: text('verb'),
        3: text('group'),
        4: text('version'),
        5: text('resource'),
        6: text('subresource'),
        7: text('name'),
      }),
      2: message('nonResourceAttributes', { 1: text('path'), 2: text('verb') }),
    }),
  },
  DeleteOptions: {
    1: number('gracePeriodSeconds'),
    2: message('preconditions', { 1: text('uid'), 2: text('resourceVersion') }),
    5: { name: 'dryRun', type: 'texts' },
  },
};

const ENVELOPE: Message = {
  1: message('typeMeta', { 1: text('apiVersion'), 2: text('kind') }),
  2: { name: 'raw', type: 'bytes' },
};

/**
 * Decodes an object in Kubernetes' protobuf format, which kubectl uses for a few commands (`create namespace`, `auth can-i`) whatever the
 * server prefers.
 * @throws ApiFailure 400 when it is malformed, or of an unknown kind
 */
export function parseProtobuf(body: Buffer): JsonObject {
  if (body.subarray(0, 4).toString('latin1') !== 'k8s\0') throw badRequest('the body is not Kubernetes protobuf');
  try {
    const { typeMeta, raw } = decode(body.subarray(4), ENVELOPE);
    const kind = textAt(typeMeta, 'kind');
    const fields = KINDS[kind];
    if (fields === undefined || !Buffer.isBuffer(raw)) throw new RangeError(`unknown kind ${kind}`);
    return { ...decode(raw, fields), apiVersion: textAt(typeMeta, 'apiVersion'), kind };
  } catch (error) {
    throw badRequest(`the protobuf cannot be decoded; send JSON instead: ${String(error)}`);
  }
}

function decode(data: Buffer, fields: Message): JsonObject {
  const result: Record<string, unknown> = {};
  const reader = new Reader(data);
  while (!reader.atEnd) {
    const tag = reader.varint();
    const field = fields[tag >>> 3];
    const value = reader.value(tag & 7);
    if (field === undefined) continue;
    const { name, type } = field;
    if (typeof value === 'number') result[name] = value;
    else if (type === 'text') result[name] = value.toString();
    else if (type === 'bytes') result[name] = value;
    else if (type === 'texts') result[name] = [...listOf(result[name]), value.toString()];
    else if (type === 'textMap' || type === 'bytesMap') {
      const entry = decode(value, { 1: text('key'), 2: { name: 'value', type: 'bytes' } });
      const content = Buffer.isBuffer(entry['value']) ? entry['value'] : Buffer.alloc(0);
      const shown = content.toString(type === 'textMap' ? 'utf8' : 'base64');
      result[name] = { ...(isJsonObject(result[name]) ? result[name] : {}), [textAt(entry, 'key')]: shown };
    } else if (type !== 'number') result[name] = decode(value, type);
  }
  return result;
}

function listOf(value: unknown): readonly unknown[] {
  return isList(value) ? value : [];
}

class Reader {
  readonly #data: Buffer;
  #at = 0;

  constructor(data: Buffer) {
    this.#data = data;
  }

  get atEnd(): boolean {
    return this.#at >= this.#data.length;
  }

  varint(): number {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = this.#data.readUInt8(this.#at);
      this.#at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(BigInt.asIntN(64, value));
    }
  }

  value(wireType: number): number | Buffer {
    if (wireType === 0) return this.varint();
    const length = wireType === 2 ? this.varint() : wireType === 1 ? 8 : wireType === 5 ? 4 : Number.NaN;
    const end = this.#at + length;
    if (!(end <= this.#data.length)) throw new RangeError('truncated');
    const value = this.#data.subarray(this.#at, end);
    this.#at = end;
    return value;
  }
}
