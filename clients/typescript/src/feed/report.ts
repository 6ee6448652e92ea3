// Tells the issuer what this reader has applied, so that it is known who lags behind.
import type { Issuer } from '../issuer.js';
import { Backoff, pause } from '../pause.js';
import type { Replica } from './replica.js';

const EVERY = 1_000;
/** A reader that has not been heard of for ten minutes is taken for gone. */
const AT_LEAST_EVERY = 60_000;

export async function reportApplied(
  { issuer, replica, reader, signal, monotonic }:
  { issuer: Issuer; replica: Replica; reader: string; signal: AbortSignal; monotonic: () => number },
): Promise<void> {
  const backoff = new Backoff();
  let last: { position: number; at: number } | undefined;
  while (!signal.aborted) {
    const { position } = replica;
    const news = position !== last?.position || monotonic() - (last?.at ?? 0) >= AT_LEAST_EVERY;
    if (position !== undefined && news) {
      try {
        await issuer.post('/v1/revocations/applied', { reader, position }, signal);
        last = { position, at: monotonic() };
        backoff.succeeded();
      } catch {
        // Nothing depends on it here; the server sees that nothing came.
        await backoff.wait(signal);
      }
    }
    await pause(EVERY, signal);
  }
}
