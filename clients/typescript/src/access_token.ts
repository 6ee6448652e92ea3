// What an access token says (RFC 9068).
import { asInteger, asName, asPosition, asText, asTexts, isObject, member, parseJson } from './json.js';
import type { JsonObject } from './json.js';
import type { PermissionSet } from './permission/set.js';
import type { Resource } from './permission/resource.js';

export interface AccessClaims {
  readonly issuer: string;
  /** `u_…` people, `c_…` clients, `k_…` keys. */
  readonly subject: string;
  readonly audiences: readonly string[];
  /** Seconds since 1970, as all times here. */
  readonly expiresAt: number;
  readonly issuedAt: number;
  readonly notBefore: number | undefined;
  readonly id: string;
  readonly clientId: string;
  readonly sessionId: string;
  readonly tenant: string;
  /** Where the person signed in. */
  readonly provider: string;
  readonly roles: readonly string[];
  readonly scope: string;
  readonly authorizationDetails: unknown;
  /** role@version of each template that made it. */
  readonly templates: readonly string[];
  /** Position of the revocation log that its node had applied. */
  readonly revision: number;
  /** The access tokens that it was exchanged from: it dies with any of them. */
  readonly ancestors: readonly string[];
  /** The client that the session began for: what ends it ends the token of another that was exchanged for it. */
  readonly sessionClient: string;
  /** When the session began, or the token, if that was earlier. */
  readonly begunAt: number;
  /** All claims, as they stand in the token. */
  readonly all: Readonly<JsonObject>;
}

/** Strict: a missing claim or one of another kind is no access token of Rolemint's. */
export function parseAccessClaims(json: string): AccessClaims | undefined {
  const all = parseJson(json);
  if (!isObject(all)) return undefined;
  const claim = (name: string) => member(all, name);
  const audience = claim('aud');
  const notBefore = claim('nbf');
  const claims = {
    issuer: asName(claim('iss')),
    subject: asName(claim('sub')),
    audiences: typeof audience === 'string' ? [audience] : asTexts(audience),
    expiresAt: asInteger(claim('exp')),
    issuedAt: asInteger(claim('iat')),
    id: asName(claim('jti')),
    clientId: asName(claim('client_id')),
    sessionId: asName(claim('sid')),
    tenant: asName(claim('tenant')),
    provider: asName(claim('provider')),
    roles: asTexts(claim('roles')),
    scope: asText(claim('scope')),
    authorizationDetails: claim('authorization_details'),
    templates: asTexts(claim('tpl')),
    revision: asPosition(claim('rev')),
    ancestors: claim('ancestors') === undefined ? [] : asTexts(claim('ancestors')),
  };
  if (!isComplete(claims)) return undefined;
  if (notBefore !== undefined && asInteger(notBefore) === undefined) return undefined;
  const { clientId, issuedAt } = claims;
  const sessionClient = claim('session_client') === undefined ? clientId : asName(claim('session_client'));
  const sessionBegan = claim('session_iat') === undefined ? issuedAt : asInteger(claim('session_iat'));
  if (sessionClient === undefined || sessionBegan === undefined) return undefined;
  const begunAt = Math.min(sessionBegan, issuedAt);
  return { ...claims, notBefore: asInteger(notBefore), sessionClient, begunAt, all };
}

type Complete<T> = { [K in keyof T]: Exclude<T[K], undefined> };

function isComplete<T extends object>(claims: T): claims is T & Complete<T> {
  return Object.values(claims).every((value) => value !== undefined);
}

/** A token that was verified: alive when it was looked at, and not later than that. */
export class AccessToken {
  readonly claims: AccessClaims;
  /** Whether it was taken although it is not known what was revoked of late. */
  readonly isStale: boolean;
  readonly #permissions: PermissionSet;

  constructor(claims: AccessClaims, permissions: PermissionSet, isStale: boolean) {
    this.claims = claims;
    this.isStale = isStale;
    this.#permissions = permissions;
  }

  get subject(): string {
    return this.claims.subject;
  }

  get tenant(): string {
    return this.claims.tenant;
  }

  /** Whether the token lets its holder do this; false for what is no action or no resource. */
  allows(action: string, resource: Resource): boolean {
    return this.#permissions.allows(action, resource);
  }

  hasScope(name: string): boolean {
    return this.claims.scope.split(' ').includes(name);
  }
}
