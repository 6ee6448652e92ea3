/** Tells of a failure when it begins, and not at every attempt. */
export class Outage {
  readonly #tell: (problem: Error) => void;
  #lasts = false;

  constructor(tell: (problem: Error) => void) {
    this.#tell = tell;
  }

  failed(problem: unknown): void {
    if (this.#lasts) return;
    this.#lasts = true;
    try {
      this.#tell(problem instanceof Error ? problem : new Error('something that is no error was thrown'));
    } catch {
      // Following goes on whatever becomes of those who are told.
    }
  }

  over(): void {
    this.#lasts = false;
  }
}
