/** The certificate of the local cluster's API server. */
import { generate } from 'selfsigned';

/** A certificate that is its own authority, and its key. Both are PEM. */
export interface Certificate {
  readonly cert: string;
  readonly key: string;
}

const DAY_MS = 86_400_000;
/** Nothing renews it, and a cluster lives as long as its process. */
const VALID_DAYS = 3650;

/** Makes a new certificate for 127.0.0.1 and localhost, valid for ten years. Its authority is the certificate itself. */
export async function certificateForLoopback(): Promise<Certificate> {
  const made = await generate([{ name: 'commonName', value: 'reentry local cluster' }], {
    // An elliptic-curve key is made in a millisecond, and its handshakes are the cheapest.
    keyType: 'ec',
    algorithm: 'sha256',
    // Clocks of clients in other virtual machines differ.
    notBeforeDate: new Date(Date.now() - DAY_MS),
    notAfterDate: new Date(Date.now() + VALID_DAYS * DAY_MS),
    extensions: [
      { name: 'basicConstraints', cA: true, critical: true },
      { name: 'keyUsage', digitalSignature: true, keyCertSign: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      {
        name: 'subjectAltName',
        altNames: [
          { type: 7, ip: '127.0.0.1' },
          { type: 2, value: 'localhost' },
        ],
      },
    ],
  });
  return { cert: made.cert, key: made.private };
}
