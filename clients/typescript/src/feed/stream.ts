// Follows the revocation log as server-sent events.
import { IssuerProblem, type Issuer } from '../issuer.js';
import type { Outage } from '../outage.js';
import { Backoff } from '../pause.js';
import { BrokenStream, EventStreamParser } from './event_stream.js';
import type { Replica } from './replica.js';

/** The server says once a second that it is alive. */
const SILENCE = 3_000;

export interface Following {
  readonly issuer: Issuer;
  readonly replica: Replica;
  /** Whose tokens are checked here: the server refuses a client that may not hear of them. */
  readonly audience: string;
  readonly tenants: readonly string[];
  readonly outage: Outage;
  readonly signal: AbortSignal;
}

/** The path with the tenants that are asked for: none means all. */
export function pathFor(path: string, { audience, tenants }: Pick<Following, 'audience' | 'tenants'>): string {
  const query = new URLSearchParams({ audience });
  for (const tenant of tenants) query.append('tenant', tenant);
  return `${path}?${query.toString()}`;
}

export async function followStream(following: Following): Promise<void> {
  const { replica, outage, signal } = following;
  const backoff = new Backoff();
  while (!signal.aborted) {
    try {
      await readStream(following, () => {
        backoff.succeeded();
        outage.over();
      });
    } catch (error) {
      if (error instanceof BrokenStream) replica.losePlace();
      if (!signal.aborted) outage.failed(error);
    }
    replica.interrupted();
    await backoff.wait(signal);
  }
}

/** One connection, to its end, which always is an error. */
async function readStream(following: Following, alive: () => void): Promise<never> {
  const { issuer, replica, signal } = following;
  const connection = new AbortController();
  const end = () => connection.abort(signal.reason);
  const silence = setTimeout(() => connection.abort(new IssuerProblem('the feed fell silent')), SILENCE);
  silence.unref();
  signal.addEventListener('abort', end, { once: true });
  try {
    signal.throwIfAborted();
    const path = pathFor('/v1/revocations', following);
    const stream = await issuer.stream(path, replica.resumesAt?.toString(), connection.signal);
    const parser = new EventStreamParser();
    for await (const bytes of stream) {
      for (const event of parser.push(bytes)) {
        if (replica.accept(event)) alive();
        silence.refresh();
      }
    }
    throw new IssuerProblem('the feed has ended');
  } finally {
    clearTimeout(silence);
    signal.removeEventListener('abort', end);
    connection.abort();
  }
}
