/** What pulling an image would come to: there are no registries here, only names. */
type ImageVerdict =
  | { readonly kind: 'present' }
  | { readonly kind: 'invalid'; readonly message: string }
  | { readonly kind: 'missing'; readonly message: string };

/** Judges an image by its name: `missing/…` (on any registry) cannot be pulled, capitals make it no image's name. */
function imageVerdict(image: string): ImageVerdict {
  if (/[A-Z\s]/u.test(image.replace(/:[^/]*$/u, ''))) {
    const why = `couldn't parse image name "${image}": invalid reference format: repository name must be lowercase`;
    return { kind: 'invalid', message: `Failed to apply default image tag "${image}": ${why}` };
  }
  if (!/^(?:.*\/)?missing\//u.test(image)) return { kind: 'present' };
  const why = `failed to resolve reference "${image}": ${image}: not found`;
  return { kind: 'missing', message: `failed to pull and unpack image "${image}": ${why}` };
}

/** What pulling an image tells and needs from its container. */
export interface Puller {
  say(type: 'Normal' | 'Warning', reason: string, message: string): void;
  /** The container waits, for this reason. */
  wait(reason: string, message: string): void;
  /** Waits, but not beyond the pod's end. */
  sleep(ms: number): Promise<void>;
  isStopping(): boolean;
}

const FIRST_PAUSE_MS = 10_000;
const MAX_PAUSE_MS = 300_000;

/** Does as if it pulled `image`, in the states and events of a kubelet; false when the pod ended while it could not. */
export async function pullImage(image: string, puller: Puller): Promise<boolean> {
  const verdict = imageVerdict(image);
  switch (verdict.kind) {
    case 'present':
      puller.say('Normal', 'Pulled', `Container image "${image}" already present on machine`);
      return true;
    case 'invalid':
      puller.wait('InvalidImageName', verdict.message);
      puller.say('Warning', 'InspectFailed', verdict.message);
      await puller.sleep(Infinity);
      return false;
    case 'missing':
      break;
  }
  for (let pauseMs = FIRST_PAUSE_MS; !puller.isStopping(); pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
    puller.say('Normal', 'Pulling', `Pulling image "${image}"`);
    puller.say('Warning', 'Failed', `Failed to pull image "${image}": ${verdict.message}`);
    puller.say('Warning', 'Failed', 'Error: ErrImagePull');
    puller.wait('ErrImagePull', verdict.message);
    await puller.sleep(1000);
    if (puller.isStopping()) break;
    puller.say('Normal', 'BackOff', `Back-off pulling image "${image}"`);
    puller.say('Warning', 'Failed', 'Error: ImagePullBackOff');
    puller.wait('ImagePullBackOff', `Back-off pulling image "${image}": ErrImagePull: ${verdict.message}`);
    await puller.sleep(pauseMs);
  }
  return false;
}
