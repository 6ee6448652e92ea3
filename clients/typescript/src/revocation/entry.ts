// An entry of the revocation feed: a fact that ends tokens.
import { asInteger, asPosition, asText, isObject, member } from '../json.js';

export interface Revocation {
  readonly position: number;
  readonly target: string;
  readonly value: unknown;
  /** Where set, only what belongs to this tenant ends. */
  readonly tenant: string | undefined;
  /** Seconds since 1970: from then on nothing that it could hit is alive. */
  readonly expiresAt: number;
}

/** Undefined: not an entry at all, so that what follows it cannot be trusted either. */
export function parseRevocation(value: unknown): Revocation | undefined {
  if (!isObject(value)) return undefined;
  const position = asPosition(member(value, 'position'));
  const target = asText(member(value, 'target'));
  const expiresAt = asInteger(member(value, 'expires_at'));
  if (position === undefined || target === undefined || expiresAt === undefined) return undefined;
  // SECURITY: a tenant that cannot be understood narrows nothing.
  return { position, target, value: member(value, 'value'), tenant: asText(member(value, 'tenant')), expiresAt };
}
