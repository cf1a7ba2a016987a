import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { dirname, join, normalize } from 'node:path';
import { dataOf, podField, resourceField } from './environment.ts';
import type { KubeObject } from './objects.ts';
import type { Container, PodSpec, Volume } from './pod.ts';
import type { Mount } from './sandbox.ts';
import type { Store } from './store.ts';

/** A volume cannot be set up. The kubelet reports `FailedMount` and retries. */
export class MountError extends Error {
  override readonly name = 'MountError';
}

/** Inputs of volumes. */
export interface VolumeSources {
  readonly store: Store;
  readonly pod: KubeObject;
  readonly spec: PodSpec;
  /** Content of a projected service account token. */
  readonly token: string;
}

/**
 * Creates the pod's volumes below `directory` and returns their paths by name.
 * @throws MountError when something that a volume needs is missing
 */
export async function makeVolumes(sources: VolumeSources, directory: string): Promise<ReadonlyMap<string, string>> {
  const paths = new Map<string, string>();
  for (const volume of sources.spec.volumes) {
    const path = volume.hostPath?.path ?? join(directory, volume.name);
    if (volume.hostPath === undefined) {
      const files = filesOf(sources, volume);
      await mkdir(path, { recursive: true });
      await writeFiles(path, files);
    } else if (/OrCreate$/u.test(volume.hostPath.type ?? '')) await mkdir(path, { recursive: true });
    else if (!existsSync(path))
      throw new MountError(`MountVolume.SetUp failed for volume "${volume.name}" : hostPath ${path} does not exist`);
    paths.set(volume.name, path);
  }
  return paths;
}

type Files = ReadonlyMap<string, Buffer>;
type Items = readonly { readonly key: string; readonly path: string }[];

function filesOf(sources: VolumeSources, volume: Volume): Files {
  const failed = (why: string): MountError =>
    new MountError(`MountVolume.SetUp failed for volume "${volume.name}" : ${why}`);
  const { configMap, secret, downwardAPI, projected, emptyDir } = volume;
  if (configMap !== undefined) return chosen(sources, 'configmaps', configMap, failed);
  if (secret !== undefined) return chosen(sources, 'secrets', { ...secret, name: secret.secretName }, failed);
  if (downwardAPI !== undefined) return downward(sources, downwardAPI.items);
  if (projected !== undefined) {
    const all = projected.sources.flatMap((source): (readonly [string, Buffer])[] => {
      if (source.configMap !== undefined) return [...chosen(sources, 'configmaps', source.configMap, failed)];
      if (source.secret !== undefined) return [...chosen(sources, 'secrets', source.secret, failed)];
      if (source.downwardAPI !== undefined) return [...downward(sources, source.downwardAPI.items)];
      if (source.serviceAccountToken !== undefined)
        return [[source.serviceAccountToken.path, Buffer.from(sources.token)] as const];
      return [];
    });
    return new Map(all);
  }
  if (emptyDir !== undefined) return new Map();
  throw failed('the local cluster has no volumes of this kind');
}

function chosen(
  { store, pod }: VolumeSources,
  resource: 'secrets' | 'configmaps',
  source: { readonly name: string; readonly items: Items; readonly optional?: boolean | undefined },
  failed: (why: string) => MountError,
): Files {
  const namespace = pod.metadata.namespace ?? '';
  const data = dataOf(store, resource, namespace, source.name);
  if (data === undefined) {
    if (source.optional === true) return new Map();
    throw failed(`${resource === 'secrets' ? 'secret' : 'configmap'} "${source.name}" not found`);
  }
  if (source.items.length === 0) return data;
  const files = new Map<string, Buffer>();
  for (const { key, path } of source.items) {
    const content = data.get(key);
    if (content !== undefined) files.set(path, content);
    else if (source.optional !== true)
      throw failed(`references non-existent ${resource === 'secrets' ? 'secret' : 'config'} key: ${key}`);
  }
  return files;
}

function downward({ pod, spec }: VolumeSources, items: NonNullable<Volume['downwardAPI']>['items']): Files {
  return new Map(
    items.map(({ path, fieldRef, resourceFieldRef }) => {
      if (fieldRef !== undefined) return [path, Buffer.from(podField(pod, fieldRef.fieldPath))];
      const container = spec.containers.find(({ name }) => name === resourceFieldRef?.containerName);
      return [
        path,
        Buffer.from(container === undefined ? '' : resourceField(container, resourceFieldRef?.resource ?? '')),
      ];
    }),
  );
}

async function writeFiles(directory: string, files: Files): Promise<void> {
  for (const [path, content] of files) {
    if (normalize(path).startsWith('..')) continue;
    await mkdir(dirname(join(directory, path)), { recursive: true });
    await writeFile(join(directory, path), content);
  }
}

/** The mounts of one container. Content of Secrets, ConfigMaps and fields is always read-only. */
export async function mountsOf(
  container: Container,
  spec: PodSpec,
  paths: ReadonlyMap<string, string>,
  expandPath: (text: string) => string,
): Promise<readonly Mount[]> {
  const mounts: Mount[] = [];
  for (const { name, mountPath, readOnly, subPath, subPathExpr } of container.volumeMounts) {
    const volume = spec.volumes.find((candidate) => candidate.name === name);
    const path = paths.get(name);
    if (volume === undefined || path === undefined) continue;
    const below = subPath ?? (subPathExpr === undefined ? '' : expandPath(subPathExpr));
    const source = join(path, below);
    const writable = volume.emptyDir !== undefined || volume.hostPath !== undefined;
    // A missing sub-path is created as a directory.
    if (writable && !existsSync(source)) await mkdir(source, { recursive: true });
    mounts.push({ source, target: normalize(mountPath), readOnly: readOnly === true || !writable });
  }
  // Outer mount points first: mounted later, they would hide the inner ones.
  return mounts.sort((a, b) => a.target.length - b.target.length);
}
