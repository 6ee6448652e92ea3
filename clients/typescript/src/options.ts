// What a verifier is told, checked once.
import { isProtected } from './issuer.js';

export interface VerifierOptions {
  /** The issuer, exactly as it stands in tokens. */
  readonly issuer: string;
  /** The audience that tokens for this resource server have. */
  readonly audience: string;
  /** The client of this resource server: confidential, with the audience among its `introspects`. */
  readonly clientId: string;
  readonly clientSecret: string;
  /** Under which name this instance reports how far it has read the log: 1 to 64 of `A-Za-z0-9._-`. */
  readonly reader?: string;
  /** Only these tenants are served here: the others' revocations are not asked for, and their tokens refused. */
  readonly tenants?: readonly string[];
  /** After so long without a sign that all revocations are known, nothing is known. 5,000. */
  readonly staleAfterMs?: number;
  /** A stream, which hears of a revocation at once, or a signed copy of the log now and then. */
  readonly follow?: 'stream' | { readonly everyMs: number };
  /** The resource types, if they are not to be asked for: as `GET /v1/resource-types` answers them. */
  readonly vocabulary?: unknown;
  /** Told when an outage begins: the issuer cannot be reached, refuses this client, sends what is no feed. */
  readonly onProblem?: (problem: Error) => void;
}

const DEFAULT_STALE_AFTER = 5_000;
const READER = /^[A-Za-z0-9._-]{1,64}$/;

export interface CheckedOptions extends VerifierOptions {
  readonly tenants: readonly string[];
  readonly staleAfterMs: number;
  readonly follow: 'stream' | { readonly everyMs: number };
  readonly onProblem: (problem: Error) => void;
}

export function checkOptions(options: VerifierOptions): CheckedOptions {
  const { issuer, reader, staleAfterMs = DEFAULT_STALE_AFTER, tenants = [], follow = 'stream' } = options;
  for (const name of ['issuer', 'audience', 'clientId', 'clientSecret'] as const) {
    if (typeof options[name] !== 'string' || options[name] === '') throw new TypeError(`${name} is missing`);
  }
  if (!isProtected(issuer)) throw new TypeError('issuer must be an https URL (http only on loopback)');
  if (issuer.endsWith('/')) throw new TypeError('issuer must be written as it stands in tokens, without a slash at its end');
  if (options.tenants?.length === 0) throw new TypeError('tenants names none; without it all are served');
  if (reader !== undefined && !READER.test(reader)) throw new TypeError('reader is 1 to 64 of A-Za-z0-9._-');
  if (!(staleAfterMs > 0)) throw new TypeError('staleAfterMs must be above 0');
  if (follow !== 'stream' && !(follow.everyMs > 0 && follow.everyMs < staleAfterMs)) {
    throw new TypeError('everyMs must be above 0 and below staleAfterMs, or everything would be stale in between');
  }
  return { ...options, staleAfterMs, tenants: [...tenants], follow, onProblem: options.onProblem ?? (() => {}) };
}
