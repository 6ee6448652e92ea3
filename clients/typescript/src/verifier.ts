// Checks access tokens without asking anybody, and knows which were revoked.
import { AccessToken, parseAccessClaims, type AccessClaims } from './access_token.js';
import { BoundedCache } from './bounded_cache.js';
import { Replica } from './feed/replica.js';
import { reportApplied } from './feed/report.js';
import { followSnapshots } from './feed/snapshots.js';
import { followStream } from './feed/stream.js';
import { Issuer } from './issuer.js';
import { KeySet, type VerificationKey } from './keys.js';
import { NotVerified } from './not_verified.js';
import { checkOptions, type CheckedOptions, type VerifierOptions } from './options.js';
import { Outage } from './outage.js';
import { PermissionSet } from './permission/set.js';
import type { Vocabulary } from './permission/vocabulary.js';
import { ResourceTypes } from './resource_types.js';
import { verifySignature } from './signature.js';

/** What `typ` says of an access token (RFC 9068 §2.1). */
const TYPES = ['at+jwt', 'application/at+jwt'];
const OPAQUE_PREFIX = 'rma_';
const MAX_TOKEN_LENGTH = 64 * 1024;
/** All tokens in the cache together, in characters. */
const CACHED = 8 * 1024 * 1024;
/**
 * Seconds by which clocks may differ where a token begins. None where it ends: by then the issuer has forgotten
 * what revoked it, and a reader that begins anew is not told of it.
 */
const SKEW = 5;

const monotonic = () => performance.now();
const wall = () => Date.now() / 1000;

/** What is done where it is not known whether a token was revoked. */
export type OnStale = 'refuse' | 'allow';

/** A token whose signature was verified; all else is looked at on every call. */
interface Cached {
  readonly claims: AccessClaims;
  readonly key: VerificationKey;
  permissions: { readonly vocabulary: Vocabulary; readonly set: PermissionSet } | undefined;
}

export class Verifier {
  readonly #options: CheckedOptions;
  readonly #replica: Replica;
  readonly #keys: KeySet;
  readonly #types: ResourceTypes;
  readonly #closing: AbortController;
  readonly #cache = new BoundedCache<Cached>(CACHED);

  private constructor(options: CheckedOptions, keys: KeySet, types: ResourceTypes, closing: AbortController) {
    this.#options = options;
    this.#keys = keys;
    this.#types = types;
    this.#closing = closing;
    const clocks = { monotonic, wall };
    this.#replica = new Replica({ clocks, staleAfter: options.staleAfterMs, skew: SKEW });
  }

  /**
   * Fetches keys and resource types, and waits for the revocations, but not longer than `staleAfterMs`: where they
   * have not come by then, it starts stale. It fails where the issuer cannot be reached or refuses the client.
   */
  static async start(given: VerifierOptions): Promise<Verifier> {
    const options = checkOptions(given);
    const issuer = new Issuer(options.issuer, options.clientId, options.clientSecret);
    const closing = new AbortController();
    // Before anything is asked for: whoever is told that it is wrong has nothing under way.
    const fixed = options.vocabulary === undefined ? undefined : ResourceTypes.fixed(issuer, options.vocabulary);
    try {
      const [keys, types] = await Promise.all([
        KeySet.of(issuer, monotonic, closing.signal),
        fixed ?? ResourceTypes.load(issuer, closing.signal),
      ]);
      const verifier = new Verifier(options, keys, types, closing);
      verifier.#follow(issuer);
      await verifier.#replica.firstCopy(options.staleAfterMs);
      return verifier;
    } catch (error) {
      closing.abort();
      throw error;
    }
  }

  #follow(issuer: Issuer): void {
    const { audience, tenants, follow, clientId, reader, vocabulary, onProblem } = this.#options;
    const { signal } = this.#closing;
    const replica = this.#replica;
    const following = { issuer, replica, audience, tenants, signal, outage: new Outage(onProblem) };
    if (follow === 'stream') void followStream(following);
    else void followSnapshots({ ...following, ...follow, keys: this.#keys, clientId, skew: SKEW, monotonic, wall });
    if (reader !== undefined) void reportApplied({ issuer, replica, reader, signal, monotonic });
    if (vocabulary === undefined) void this.#types.follow(signal);
    void this.#keys.follow(signal);
  }

  /** The position of the log up to which revocations are known; undefined before they came for the first time. */
  get position(): number | undefined {
    return this.#replica.position;
  }

  /** Whether it is not known which tokens were revoked. */
  get isStale(): boolean {
    return this.#replica.isStale;
  }

  /**
   * A token from an `Authorization` header (see `bearerToken`). Throws `NotVerified` unless it is good now.
   * `onStale` is for the route to decide: reading the news may go on while the issuer is away, paying may not.
   */
  async verify(bearer: string | undefined, { onStale = 'refuse' }: { onStale?: OnStale } = {}): Promise<AccessToken> {
    const cached = await this.#signed(bearer);
    const { claims } = cached;
    const now = wall();
    if (claims.issuer !== this.#options.issuer) throw new NotVerified('issuer');
    if (!claims.audiences.includes(this.#options.audience)) throw new NotVerified('audience');
    // SECURITY: of other tenants' revocations nothing is heard.
    const { tenants } = this.#options;
    if (tenants.length > 0 && !tenants.includes(claims.tenant)) throw new NotVerified('tenant');
    if (now >= claims.expiresAt) throw new NotVerified('expired');
    if (Math.max(claims.issuedAt, claims.notBefore ?? 0) > now + SKEW) throw new NotVerified('not_yet_valid');
    if (this.#replica.ends(claims)) throw new NotVerified('revoked');
    if (this.isStale && onStale !== 'allow') throw new NotVerified('stale');
    return new AccessToken(claims, this.#permissionsOf(cached), this.isStale);
  }

  /** Ends all connections. What is verified afterwards is stale. */
  close(): void {
    this.#closing.abort();
    this.#replica.close();
  }

  /** SECURITY: only the signature is remembered. */
  async #signed(bearer: string | undefined): Promise<Cached> {
    if (!bearer) throw new NotVerified('missing');
    const known = this.#cache.get(bearer);
    // A key that the issuer has taken back verifies nothing any more.
    if (known && this.#keys.holds(known.key)) return known;
    if (bearer.startsWith(OPAQUE_PREFIX)) throw new NotVerified('opaque');
    if (bearer.length > MAX_TOKEN_LENGTH) throw new NotVerified('malformed');
    const signed = await verifySignature(bearer, TYPES, this.#keys);
    if (typeof signed === 'string') throw new NotVerified(signed);
    const claims = parseAccessClaims(signed.payload);
    if (!claims) throw new NotVerified('malformed');
    const cached: Cached = { claims, key: signed.key, permissions: undefined };
    this.#cache.set(bearer, cached);
    return cached;
  }

  #permissionsOf(cached: Cached): PermissionSet {
    const vocabulary = this.#types.current;
    if (cached.permissions?.vocabulary !== vocabulary) {
      const set = PermissionSet.parse(cached.claims.authorizationDetails, vocabulary);
      cached.permissions = { vocabulary, set };
    }
    return cached.permissions.set;
  }
}

/** The token of an `Authorization` header (RFC 6750 §2.1). */
export function bearerToken(header: string | undefined): string | undefined {
  return header?.match(/^bearer +([\w.~+/-]+=*) *$/i)?.[1];
}
