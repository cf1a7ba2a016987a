/** Serves the image that `.ci/image` made, so that nodes of a cluster on this machine can pull it. */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { z } from 'zod';
import { portOf } from './ports.ts';

const descriptorSchema = z.looseObject({ digest: z.string(), mediaType: z.string() });
const indexSchema = z.looseObject({ manifests: z.array(descriptorSchema).length(1) });
const manifestSchema = z.looseObject({ config: descriptorSchema, layers: z.array(descriptorSchema) });

/** An image in its own registry on loopback, which ends when this is disposed. */
export interface ServedImage extends AsyncDisposable {
  /** The chart's values for it. */
  readonly values: { readonly repository: string; readonly tag: string };
  /** The layers' archives (tar, gzip), lowest first. */
  readonly layers: readonly string[];
  /** The image's configuration. */
  readonly config: unknown;
}

/**
 * Serves the image of an OCI layout.
 *
 * @param layout its folder.
 * @param hosts containerd's `config_path`, where it looks up how a registry is reached.
 */
export async function servedImage(layout: string, hosts: string): Promise<ServedImage> {
  const blobPath = (digest: string): string => join(layout, 'blobs', ...digest.split(':'));
  const jsonOf = async (path: string): Promise<unknown> => JSON.parse(await readFile(path, 'utf8'));
  const [top] = indexSchema.parse(await jsonOf(join(layout, 'index.json'))).manifests;
  if (top === undefined) throw new Error(`${layout} has no image`);
  const manifest = manifestSchema.parse(await jsonOf(blobPath(top.digest)));
  const known = new Map([top, manifest.config, ...manifest.layers].map((one) => [one.digest, one]));

  const server = createServer((request, response) => {
    void (async () => {
      const [, kind, reference = ''] = /^\/v2\/reentry\/(manifests|blobs)\/([^/?]+)/.exec(request.url ?? '') ?? [];
      const blob = kind === 'manifests' && reference === 'test' ? top : known.get(reference);
      if (blob === undefined) return response.writeHead(request.url === '/v2/' ? 200 : 404).end('{}');
      const body = await readFile(blobPath(blob.digest));
      const headers = { 'content-type': blob.mediaType, 'docker-content-digest': blob.digest };
      response.writeHead(200, { ...headers, 'content-length': body.length });
      return response.end(request.method === 'HEAD' ? undefined : body);
    })();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const port = portOf(server);
  // Folders are named after HOST:PORT; plain HTTP must be stated.
  const host = join(hosts, `127.0.0.1_${String(port)}_`);
  await mkdir(host, { recursive: true });
  await writeFile(join(host, 'hosts.toml'), `server = 'http://127.0.0.1:${String(port)}'\n`);
  return {
    values: { repository: `127.0.0.1:${String(port)}/reentry`, tag: 'test' },
    layers: manifest.layers.map(({ digest }) => blobPath(digest)),
    config: await jsonOf(blobPath(manifest.config.digest)),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      await rm(host, { recursive: true });
    },
  };
}
