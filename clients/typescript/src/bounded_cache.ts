/** Keeps what was used last, up to a weight; texts weigh their length. */
export class BoundedCache<V> {
  readonly #limit: number;
  /** In the order of their last use. */
  readonly #entries = new Map<string, V>();
  #weight = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(key: string): V | undefined {
    const value = this.#entries.get(key);
    if (value !== undefined) {
      this.#entries.delete(key);
      this.#entries.set(key, value);
    }
    return value;
  }

  set(key: string, value: V): void {
    this.delete(key);
    this.#entries.set(key, value);
    this.#weight += key.length;
    for (const oldest of this.#entries.keys()) {
      if (this.#weight <= this.#limit) break;
      this.delete(oldest);
    }
  }

  delete(key: string): void {
    if (this.#entries.delete(key)) this.#weight -= key.length;
  }

  get size(): number {
    return this.#entries.size;
  }
}
