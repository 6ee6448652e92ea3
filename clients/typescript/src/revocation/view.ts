// The live entries of the revocation log, as one reader knows them.
import type { AccessClaims } from '../access_token.js';
import { asInteger, asText } from '../json.js';
import type { Revocation } from './entry.js';

/** On one target: the last position in each tenant, or for everybody (undefined). */
type Entries = Map<string | undefined, { position: number; expiresAt: number }>;

/** What an entry's value is compared with. */
const COMPARED: Readonly<Record<string, (token: AccessClaims) => readonly string[]>> = {
  token: ({ id, ancestors }) => [id, ...ancestors],
  session: ({ sessionId }) => [sessionId],
  subject: ({ subject }) => [subject],
  tenant: ({ tenant }) => [tenant],
  client: ({ clientId, sessionClient }) => [clientId, sessionClient],
  provider: ({ provider }) => [provider],
  api_key: ({ subject }) => [subject],
  role: ({ roles }) => roles,
  template_version: ({ templates }) => templates,
};

/** What names one token or session ends it whenever it was minted; the others end what was minted before. */
const ENDS_FOR_GOOD: ReadonlySet<string> = new Set(['token', 'session']);

export class RevocationView {
  readonly #byTarget = new Map(Object.keys(COMPARED).map((target) => [target, new Map<string, Entries>()]));
  /** By the moment before which everything ends. */
  readonly #before = new Map<number, Entries>();
  /** Those that this version does not understand: they may mean anybody. */
  readonly #unknown: Entries = new Map();

  apply(revocation: Revocation): void {
    const { target, value } = revocation;
    const text = asText(value);
    const known = this.#byTarget.get(target);
    const moment = target === 'before' ? asInteger(value) : undefined;
    // SECURITY: a later server knows more targets. Whatever cannot be understood ends every token that was
    // minted before it, since it may have meant any of them.
    if (known && text !== undefined) note(entriesOf(known, text), revocation);
    else if (moment !== undefined) note(entriesOf(this.#before, moment), revocation);
    else note(this.#unknown, revocation);
  }

  /** Whether a token is dead. */
  ends(token: AccessClaims): boolean {
    if (token.revision < lastPosition(this.#unknown, token.tenant)) return true;
    for (const [moment, entries] of this.#before) {
      if (token.begunAt < moment && token.revision < lastPosition(entries, token.tenant)) return true;
    }
    for (const [target, known] of this.#byTarget) {
      if (known.size === 0) continue;
      for (const value of COMPARED[target]?.(token) ?? []) {
        const position = lastPosition(known.get(value), token.tenant);
        if (position >= 0 && (ENDS_FOR_GOOD.has(target) || token.revision < position)) return true;
      }
    }
    return false;
  }

  /** Drops what can hit nothing any more at this moment (seconds since 1970). */
  forget(now: number): void {
    for (const known of [...this.#byTarget.values(), this.#before]) forgetIn<unknown>(known, now);
    drop(this.#unknown, now);
  }

  /** How many entries are held. */
  get size(): number {
    const all = [...this.#byTarget.values(), this.#before].flatMap((known) => [...known.values()]);
    return [...all, this.#unknown].reduce((count, entries) => count + entries.size, 0);
  }
}

function entriesOf<K>(known: Map<K, Entries>, key: K): Entries {
  let entries = known.get(key);
  if (!entries) known.set(key, entries = new Map());
  return entries;
}

function note(entries: Entries, { tenant, position, expiresAt }: Revocation): void {
  const other = entries.get(tenant);
  entries.set(tenant, {
    position: Math.max(position, other?.position ?? position),
    expiresAt: Math.max(expiresAt, other?.expiresAt ?? expiresAt),
  });
}

/** The last position that hits this tenant; -1: none. */
function lastPosition(entries: Entries | undefined, tenant: string): number {
  return Math.max(entries?.get(undefined)?.position ?? -1, entries?.get(tenant)?.position ?? -1);
}

function forgetIn<K>(known: Map<K, Entries>, now: number): void {
  for (const [key, entries] of known) {
    drop(entries, now);
    if (entries.size === 0) known.delete(key);
  }
}

function drop(entries: Entries, now: number): void {
  for (const [tenant, { expiresAt }] of entries) {
    if (expiresAt <= now) entries.delete(tenant);
  }
}
