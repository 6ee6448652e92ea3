// Whether the issuer signed a JWT. Nothing in its header decides how it is looked at.
import { compactVerify } from 'jose';
import { isObject, parseJson } from './json.js';
import type { KeySet, VerificationKey } from './keys.js';

/** Of a header that has exactly the three members that the issuer writes. */
interface Header {
  readonly algorithm: string;
  readonly kid: string;
}

export interface Signed {
  readonly payload: string;
  readonly key: VerificationKey;
}

const BASE64URL = /^[\w-]+$/;

/** Undefined: no JWT of one of these types. */
export function readHeader(jwt: string, types: readonly string[]): Header | undefined {
  const parts = jwt.split('.');
  const [first] = parts;
  if (parts.length !== 3 || first === undefined || !parts.every((part) => BASE64URL.test(part))) return undefined;
  const header = parseJson(Buffer.from(first, 'base64url').toString('utf8'));
  if (!isObject(header) || Object.keys(header).length !== 3) return undefined;
  const { alg, kid, typ } = header;
  if (typeof alg !== 'string' || typeof kid !== 'string' || typeof typ !== 'string') return undefined;
  return types.includes(typ) ? { algorithm: alg, kid } : undefined;
}

/** Undefined: none of the issuer's keys made this. */
export async function verifySignature(jwt: string, header: Header, keys: KeySet): Promise<Signed | undefined> {
  const key = await keys.find(header.kid);
  // SECURITY: the algorithm is the key's own, never the token's choice.
  if (!key || header.algorithm !== key.algorithm) return undefined;
  try {
    const { payload } = await compactVerify(jwt, key.key, { algorithms: [key.algorithm] });
    return { payload: new TextDecoder('utf-8', { fatal: true }).decode(payload), key };
  } catch {
    return undefined;
  }
}
