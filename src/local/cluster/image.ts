/** What pulling an image would come to: there are no registries here, only names. */
export type ImageVerdict =
  | { readonly kind: 'present' }
  | { readonly kind: 'invalid'; readonly message: string }
  | { readonly kind: 'missing'; readonly message: string };

/** Judges an image by its name: `missing/…` (on any registry) cannot be pulled, capitals make it no image's name. */
export function imageVerdict(image: string): ImageVerdict {
  if (/[A-Z\s]/u.test(image.replace(/:[^/]*$/u, ''))) {
    const why = `couldn't parse image name "${image}": invalid reference format: repository name must be lowercase`;
    return { kind: 'invalid', message: `Failed to apply default image tag "${image}": ${why}` };
  }
  if (!/^(?:.*\/)?missing\//u.test(image)) return { kind: 'present' };
  const why = `failed to resolve reference "${image}": ${image}: not found`;
  return { kind: 'missing', message: `failed to pull and unpack image "${image}": ${why}` };
}
