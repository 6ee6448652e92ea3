// The issuer's public keys (RFC 7517).
import { importJWK, type CryptoKey, type JWK } from 'jose';
import { IssuerProblem, type Issuer } from './issuer.js';
import { isObject, member, parseJson } from './json.js';
import { NotVerified } from './not_verified.js';
import { pause } from './pause.js';

export interface VerificationKey {
  readonly kid: string;
  readonly algorithm: string;
  readonly key: CryptoKey;
}

const ALGORITHMS: ReadonlySet<string> = new Set(['EdDSA', 'ES256', 'RS256']);

/** An unknown `kid` costs one fetch in so many milliseconds at most: strangers choose it. */
const COOLDOWN = 10_000;
/** As above, after a fetch that came to nothing. */
const RETRY = 1_000;
/** The issuer lets them be kept so long. */
const EVERY = 5 * 60_000;
const MAX_KEYS = 64;

export class KeySet {
  readonly #load: () => Promise<string>;
  readonly #now: () => number;
  #keys: ReadonlyMap<string, VerificationKey> = new Map();
  #text = '';
  #askedAt = 0;
  #failed = false;
  #asking: Promise<void> | undefined;

  private constructor(load: () => Promise<string>, now: () => number) {
    this.#load = load;
    this.#now = now;
  }

  static async of(issuer: Issuer, now: () => number, signal: AbortSignal): Promise<KeySet> {
    const address = await issuer.keysAddress(signal);
    return KeySet.from(() => issuer.publicDocument(address, signal), now);
  }

  /** `load` answers the JWK set as text, `now` in milliseconds that only go on. */
  static async from(load: () => Promise<string>, now: () => number): Promise<KeySet> {
    const keys = new KeySet(load, now);
    await keys.#read();
    return keys;
  }

  /** Undefined: the issuer has no such key. */
  async find(kid: string): Promise<VerificationKey | undefined> {
    if (this.#keys.has(kid)) return this.#keys.get(kid);
    if (this.#now() - this.#askedAt >= (this.#failed ? RETRY : COOLDOWN)) this.#ask();
    await this.#asking;
    const key = this.#keys.get(kid);
    // It may be one of the keys by now, and is no fault of the token.
    if (!key && this.#failed) throw new NotVerified('no_keys');
    return key;
  }

  /** Whether this is one of the keys, as they are now. */
  holds(key: VerificationKey): boolean {
    return this.#keys.get(key.kid) === key;
  }

  /** Asks again every few minutes, so that a key that was taken back does not count for ever. */
  async follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(EVERY, signal);
      if (!signal.aborted) await this.#ask();
    }
  }

  /** One fetch at a time. Where there is no answer, the keys stay as they are. */
  #ask(): Promise<void> {
    this.#asking ??= this.#read().catch(() => {}).finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #read(): Promise<void> {
    this.#askedAt = this.#now();
    this.#failed = true;
    const text = await this.#load();
    if (text !== this.#text) {
      const keys = await parseKeys(text);
      if (keys.size === 0) throw new IssuerProblem('the issuer has no key that can be used');
      this.#keys = keys;
      this.#text = text;
    }
    this.#failed = false;
  }
}

/** Those that can be used: a key with an id, for one algorithm, which the key itself names. */
async function parseKeys(text: string): Promise<Map<string, VerificationKey>> {
  const set = parseJson(text);
  const list = isObject(set) ? member(set, 'keys') : undefined;
  const keys = new Map<string, VerificationKey>();
  for (const jwk of Array.isArray(list) ? list.slice(0, MAX_KEYS) : []) {
    if (!isObject(jwk)) continue;
    const { kid, alg, use } = jwk;
    if (typeof kid !== 'string' || typeof alg !== 'string' || !ALGORITHMS.has(alg)) continue;
    if (use !== undefined && use !== 'sig') continue;
    const { kty, crv, x, y, n, e } = jwk as JWK;
    try {
      // Its public part alone, whatever else stands there; refused unless it is a key for this algorithm.
      const key = await importJWK(Object.fromEntries(
        Object.entries({ kty, crv, x, y, n, e }).filter(([, value]) => value !== undefined),
      ) as JWK, alg);
      if (!(key instanceof Uint8Array)) keys.set(kid, { kid, algorithm: alg, key });
    } catch {
      // One that is broken takes nothing from the others.
    }
  }
  return keys;
}
