/** Simulates pulling images: there is no registry, only names. */
type ImageVerdict =
  | { readonly kind: 'present' }
  | { readonly kind: 'invalid'; readonly message: string }
  | { readonly kind: 'missing'; readonly message: string };

/** Decides by the name: `missing/…` (on any registry) cannot be pulled; upper case makes the reference invalid. */
function imageVerdict(image: string): ImageVerdict {
  if (/[A-Z\s]/u.test(image.replace(/:[^/]*$/u, ''))) {
    const why = `couldn't parse image name "${image}": invalid reference format: repository name must be lowercase`;
    return { kind: 'invalid', message: `Failed to apply default image tag "${image}": ${why}` };
  }
  if (!/^(?:.*\/)?missing\//u.test(image)) return { kind: 'present' };
  const why = `failed to resolve reference "${image}": ${image}: not found`;
  return { kind: 'missing', message: `failed to pull and unpack image "${image}": ${why}` };
}

/** What pulling an image reports to and needs from its container. */
export interface Puller {
  event(type: 'Normal' | 'Warning', reason: string, message: string): void;
  /** Puts the container into state waiting, for this reason. */
  wait(reason: string, message: string): void;
  /** Waits, but not beyond the pod's end. */
  sleep(ms: number): Promise<void>;
  isStopping(): boolean;
}

const FIRST_PAUSE_MS = 10_000;
const MAX_PAUSE_MS = 300_000;

/** Simulates pulling `image`, with the states and events of a kubelet; false when the pod ended before it could be pulled. */
export async function pullImage(image: string, puller: Puller): Promise<boolean> {
  const verdict = imageVerdict(image);
  switch (verdict.kind) {
    case 'present':
      puller.event('Normal', 'Pulled', `Container image "${image}" already present on machine`);
      return true;
    case 'invalid':
      puller.wait('InvalidImageName', verdict.message);
      puller.event('Warning', 'InspectFailed', verdict.message);
      await puller.sleep(Infinity);
      return false;
    case 'missing':
      break;
  }
  for (let pauseMs = FIRST_PAUSE_MS; !puller.isStopping(); pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
    puller.event('Normal', 'Pulling', `Pulling image "${image}"`);
    puller.event('Warning', 'Failed', `Failed to pull image "${image}": ${verdict.message}`);
    puller.event('Warning', 'Failed', 'Error: ErrImagePull');
    puller.wait('ErrImagePull', verdict.message);
    await puller.sleep(1000);
    if (puller.isStopping()) break;
    puller.event('Normal', 'BackOff', `Back-off pulling image "${image}"`);
    puller.event('Warning', 'Failed', 'Error: ImagePullBackOff');
    puller.wait('ImagePullBackOff', `Back-off pulling image "${image}": ErrImagePull: ${verdict.message}`);
    await puller.sleep(pauseMs);
  }
  return false;
}
