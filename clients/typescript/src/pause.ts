// Waiting between attempts, without keeping the process alive.
import { setTimeout } from 'node:timers/promises';

/** Ends early when `signal` does. */
export async function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  await setTimeout(milliseconds, undefined, { ref: false, signal }).catch(() => {});
}

const FIRST = 100;
const LONGEST = 5_000;

/** Longer after each failure, and never the same for all readers, who lost the server at the same moment. */
export class Backoff {
  #next = FIRST;

  wait(signal: AbortSignal): Promise<void> {
    const base = this.#next;
    this.#next = Math.min(base * 2, LONGEST);
    return pause(base / 2 + Math.random() * base / 2, signal);
  }

  succeeded(): void {
    this.#next = FIRST;
  }
}
