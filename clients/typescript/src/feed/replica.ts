// A reader's copy of the revocation log, and how fresh it is.
import type { AccessClaims } from '../access_token.js';
import { asPosition, isObject, member, parseJson } from '../json.js';
import { parseRevocation, type Revocation } from '../revocation/entry.js';
import { RevocationView } from '../revocation/view.js';
import { BrokenStream, type ServerSentEvent } from './event_stream.js';

/** A copy that is being received, and does not count before it is whole. */
interface Incoming {
  readonly view: RevocationView;
  readonly position: number;
}

/** How often entries that can hit nothing any more are looked for, in milliseconds. */
const SWEEP_EVERY = 10_000;

export interface Clocks {
  /** Milliseconds that only go on: whether something is stale is no matter of the date. */
  readonly monotonic: () => number;
  /** Seconds since 1970. */
  readonly wall: () => number;
}

export class Replica {
  readonly #clocks: Clocks;
  readonly #staleAfter: number;
  /** Entries are kept for so many seconds longer than they need be, should the wall clock be put back. */
  readonly #skew: number;
  #view: RevocationView | undefined;
  #position: number | undefined;
  /** Whether the feed can be resumed at the position. */
  #inPlace = false;
  #incoming: Incoming | undefined;
  #freshAt: number | undefined;
  #sweptAt = 0;
  #firstCopy: (() => void) | undefined;

  constructor(options: { clocks: Clocks; staleAfter: number; skew: number }) {
    this.#clocks = options.clocks;
    this.#staleAfter = options.staleAfter;
    this.#skew = options.skew;
  }

  /** The position of the log up to which everything is known; undefined before the first copy is whole. */
  get position(): number | undefined {
    return this.#position;
  }

  /** Where the feed goes on; undefined where it has to begin anew. */
  get resumesAt(): number | undefined {
    return this.#inPlace ? this.#position : undefined;
  }

  /** Whether the last sign that everything is known is too long ago, or never came. */
  get isStale(): boolean {
    return this.#freshAt === undefined || this.#clocks.monotonic() - this.#freshAt > this.#staleAfter;
  }

  /** Waits for the first copy, but not longer than so many milliseconds. */
  async firstCopy(patience: number): Promise<void> {
    if (this.#view) return;
    // Not unreferenced: somebody waits for it.
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve) => {
      this.#firstCopy = resolve;
      timer = setTimeout(resolve, patience);
    });
    clearTimeout(timer);
  }

  /** How many entries are held. */
  get size(): number {
    return this.#view?.size ?? 0;
  }

  /** What is known says that this token is dead. */
  ends(token: AccessClaims): boolean {
    return this.#view?.ends(token) ?? false;
  }

  /** An event of the feed; whether it was a sign of life. */
  accept({ event, data }: ServerSentEvent): boolean {
    switch (event) {
      case 'reset':
        // The log may be another one than before: nothing can be resumed until the new copy is whole.
        this.#inPlace = false;
        this.#incoming = { view: new RevocationView(), position: positionIn(data) };
        return false;
      case 'revocation':
        this.#apply(parseRevocation(parseJson(data)) ?? broken('an entry of the feed is none'));
        return false;
      case 'position':
        this.#advance(positionIn(data), ageIn(data));
        return true;
      default:
        return false;
    }
  }

  /**
   * A whole copy, as it was at a moment of the monotonic clock. False: it is older than what is known, and not taken.
   *
   * SECURITY: a node that is behind, or an old copy shown again, would revive what was revoked since. A log that was
   * lost is believed when nothing has been heard of the other for too long.
   */
  replace(revocations: readonly Revocation[], position: number, asOf: number): boolean {
    if (this.#position !== undefined && position < this.#position && !this.isStale) return false;
    const view = new RevocationView();
    revocations.forEach((revocation) => view.apply(revocation));
    this.#view = view;
    this.#position = position;
    this.#freshAt = asOf;
    this.#firstCopy?.();
    this.#sweep();
    return true;
  }

  /** Nothing had changed at a moment of the monotonic clock. */
  confirm(asOf: number): void {
    if (this.#view) this.#freshAt = asOf;
    this.#sweep();
  }

  /** Nobody follows the log any more: from now on it is stale. */
  close(): void {
    this.#freshAt = undefined;
  }

  /** The connection is gone: half a copy is none. */
  interrupted(): void {
    this.#incoming = undefined;
  }

  /** What the feed sent does not fit together. What is known goes on counting until the feed has begun anew. */
  losePlace(): void {
    this.#incoming = undefined;
    this.#inPlace = false;
  }

  #apply(revocation: Revocation): void {
    if (this.#incoming) {
      this.#incoming.view.apply(revocation);
      return;
    }
    if (!this.#view || this.resumesAt === undefined) throw new BrokenStream('the feed began in its middle');
    this.#view.apply(revocation);
    this.#position = Math.max(revocation.position, this.resumesAt);
  }

  #advance(position: number, age: number): void {
    const least = this.#incoming?.position ?? this.resumesAt;
    if (least === undefined) throw new BrokenStream('the feed began in its middle');
    if (position < least) throw new BrokenStream('the feed went back');
    if (this.#incoming) this.#view = this.#incoming.view;
    this.#incoming = undefined;
    this.#inPlace = true;
    this.#position = position;
    this.#freshAt = this.#clocks.monotonic() - age;
    this.#firstCopy?.();
    this.#sweep();
  }

  #sweep(): void {
    const now = this.#clocks.monotonic();
    if (now - this.#sweptAt < SWEEP_EVERY) return;
    this.#sweptAt = now;
    this.#view?.forget(this.#clocks.wall() - this.#skew);
  }
}

function positionIn(data: string): number {
  const value = parseJson(data);
  return (isObject(value) ? asPosition(member(value, 'position')) : undefined) ?? broken('an event of the feed has no position');
}

/** How long ago the server knew that this is all, in milliseconds. */
function ageIn(data: string): number {
  const value = parseJson(data);
  return (isObject(value) ? asPosition(member(value, 'age_ms')) : undefined) ?? 0;
}

function broken(problem: string): never {
  throw new BrokenStream(problem);
}
