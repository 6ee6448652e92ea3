// Why a token was not taken, and what its bearer is told (RFC 6750 §3).

const DESCRIPTIONS = {
  missing: 'there is no access token',
  malformed: 'this is no access token',
  opaque: 'an opaque token cannot be checked here',
  other_type: 'this is no access token, but a token of another kind',
  unknown_key: 'the access token names a key that the issuer does not have',
  no_keys: 'the issuer could not be asked for its keys',
  signature: 'the signature of the access token is not right',
  issuer: 'the access token is another issuer\'s',
  audience: 'the access token is not for this resource server',
  tenant: 'the access token is of a tenant that is not served here',
  expired: 'the access token has expired',
  not_yet_valid: 'the access token is not valid yet',
  revoked: 'the access token was revoked',
  stale: 'it is not known whether the access token was revoked',
} as const;

export type NotVerifiedCode = keyof typeof DESCRIPTIONS;

/** Nothing of the token is in it. */
export class NotVerified extends Error {
  override readonly name = 'NotVerified';
  readonly code: NotVerifiedCode;

  constructor(code: NotVerifiedCode) {
    super(DESCRIPTIONS[code]);
    this.code = code;
  }

  /** 503 where it is not the token's fault, with `Retry-After`; else 401, with `WWW-Authenticate`. */
  get status(): 401 | 503 {
    return this.code === 'stale' || this.code === 'no_keys' ? 503 : 401;
  }

  /** The value of the header `WWW-Authenticate`; undefined where another token would not do better. */
  get wwwAuthenticate(): string | undefined {
    if (this.status === 503) return undefined;
    // Who has shown nothing is told nothing (RFC 6750 §3.1).
    if (this.code === 'missing') return 'Bearer';
    return `Bearer error="invalid_token", error_description="${this.message}"`;
  }
}

/** The value of `WWW-Authenticate` in an answer 403: the token is good, and does not allow this. */
export const INSUFFICIENT_SCOPE = 'Bearer error="insufficient_scope"';
