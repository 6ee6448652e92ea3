// Whether the issuer signed a JWT. Nothing in its header decides how it is looked at.
import { compactVerify } from 'jose';
import { isObject, parseJson } from './json.js';
import type { KeySet, VerificationKey } from './keys.js';

/** Of a header that has exactly the three members that the issuer writes. */
interface Header {
  readonly kid: string;
  readonly type: string;
}

export interface Signed {
  readonly payload: string;
  readonly key: VerificationKey;
}

export type NotSigned = 'malformed' | 'other_type' | 'unknown_key' | 'signature';

const BASE64URL = /^[\w-]+$/;

/** Undefined: no JWT with such a header. */
function readHeader(jwt: string): Header | undefined {
  const parts = jwt.split('.');
  const [first] = parts;
  if (parts.length !== 3 || first === undefined || !parts.every((part) => BASE64URL.test(part))) return undefined;
  const header = parseJson(Buffer.from(first, 'base64url').toString('utf8'));
  if (!isObject(header) || Object.keys(header).length !== 3) return undefined;
  const { alg, kid, typ } = header;
  if (typeof alg !== 'string' || typeof kid !== 'string' || typeof typ !== 'string') return undefined;
  return { kid, type: typ };
}

/** What the key signed as one of these types, or why it did not. */
export async function verifySignature(
  jwt: string, types: readonly string[], keys: KeySet,
): Promise<Signed | NotSigned> {
  const header = readHeader(jwt);
  if (!header) return 'malformed';
  if (!types.includes(header.type)) return 'other_type';
  const key = await keys.find(header.kid);
  if (!key) return 'unknown_key';
  try {
    // SECURITY: the algorithm is the key's own, never the token's choice.
    const { payload } = await compactVerify(jwt, key.key, { algorithms: [key.algorithm] });
    return { payload: new TextDecoder('utf-8', { fatal: true }).decode(payload), key };
  } catch {
    return 'signature';
  }
}
