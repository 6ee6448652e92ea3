// Follows the revocation log by asking for a signed copy of it now and then.
import { asInteger, asPosition, isObject, member, parseJson } from '../json.js';
import { IssuerProblem } from '../issuer.js';
import type { KeySet } from '../keys.js';
import { pause } from '../pause.js';
import { parseRevocation, type Revocation } from '../revocation/entry.js';
import { verifySignature } from '../signature.js';
import { pathFor, type Following } from './stream.js';

const TYPES = ['revocations+jwt'];

export interface Snapshot {
  readonly revocations: readonly Revocation[];
  readonly position: number;
  readonly issuedAt: number;
}

/** Whose snapshot it must be, and when. */
export interface Expected {
  readonly issuer: string;
  readonly clientId: string;
  /** Seconds since 1970. */
  readonly now: number;
  readonly skew: number;
}

/** Undefined: not a snapshot of this issuer's, for this client, at this time. */
export async function readSnapshot(jwt: string, keys: KeySet, expected: Expected): Promise<Snapshot | undefined> {
  const signed = await verifySignature(jwt, TYPES, keys);
  const claims = typeof signed === 'string' ? undefined : parseJson(signed.payload);
  if (!isObject(claims)) return undefined;
  if (member(claims, 'iss') !== expected.issuer || member(claims, 'aud') !== expected.clientId) return undefined;
  const issuedAt = asInteger(member(claims, 'iat'));
  const expiresAt = asInteger(member(claims, 'exp'));
  const position = asPosition(member(claims, 'position'));
  const entries = member(claims, 'entries');
  if (issuedAt === undefined || expiresAt === undefined || position === undefined) return undefined;
  if (issuedAt > expected.now + expected.skew || expiresAt <= expected.now - expected.skew) return undefined;
  const revocations = Array.isArray(entries) ? entries.map(parseRevocation) : [undefined];
  if (!revocations.every((revocation) => revocation !== undefined)) return undefined;
  return { revocations, position, issuedAt };
}

export interface Polling extends Following {
  readonly keys: KeySet;
  readonly clientId: string;
  readonly everyMs: number;
  readonly skew: number;
  readonly monotonic: () => number;
  readonly wall: () => number;
}

export async function followSnapshots(polling: Polling): Promise<void> {
  const { issuer, replica, outage, signal, everyMs } = polling;
  let etag: string | undefined;
  const ask = async () => {
    const asked = polling.monotonic();
    const path = pathFor('/v1/revocations/snapshot', polling);
    const document = await issuer.document(path, etag, signal);
    // What is answered was so when it was asked for, but for the time that the server says.
    const asOf = asked - document.age;
    if (document.text === undefined) {
      replica.confirm(asOf);
      return;
    }
    const { clientId, skew } = polling;
    const expected = { issuer: issuer.url, clientId, skew, now: polling.wall() };
    const snapshot = await readSnapshot(document.text.trim(), polling.keys, expected);
    if (!snapshot) throw new IssuerProblem('the snapshot of the revocation log cannot be used');
    const taken = replica.replace(snapshot.revocations, snapshot.position, asOf);
    if (!taken) throw new IssuerProblem('the snapshot is older than what is known');
    etag = document.etag;
  };
  while (!signal.aborted) {
    try {
      await ask();
      outage.over();
    } catch (error) {
      if (!signal.aborted) outage.failed(error);
    }
    // Readers that were started together drift apart.
    await pause(everyMs * (0.9 + Math.random() * 0.1), signal);
  }
}
