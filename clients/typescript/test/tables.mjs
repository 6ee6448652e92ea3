// The tables that every verifier is held to (clients/conformance).
import { readFileSync } from 'node:fs';

export function table(name) {
  return JSON.parse(readFileSync(new URL(`../../conformance/${name}`, import.meta.url), 'utf8'));
}

/** A token's claims with some that differ; null: the claim is absent. */
export function claimsWith(claims, differing = {}) {
  const merged = Object.entries({ ...claims, ...differing }).filter(([, value]) => value !== null);
  return JSON.stringify(Object.fromEntries(merged));
}
