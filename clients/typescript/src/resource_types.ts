// The vocabulary in force, kept up to date.
import type { Issuer } from './issuer.js';
import { parseJson } from './json.js';
import { pause } from './pause.js';
import { Vocabulary } from './permission/vocabulary.js';

const PATH = '/v1/resource-types';
const EVERY = 60_000;

export class ResourceTypes {
  readonly #issuer: Issuer;
  #current: Vocabulary;
  #etag: string | undefined;

  private constructor(issuer: Issuer, vocabulary: Vocabulary, etag: string | undefined) {
    this.#issuer = issuer;
    this.#current = vocabulary;
    this.#etag = etag;
  }

  static async load(issuer: Issuer, signal: AbortSignal): Promise<ResourceTypes> {
    const document = await issuer.document(PATH, undefined, signal);
    return new ResourceTypes(issuer, Vocabulary.parse(parseJson(document.text ?? '')), document.etag);
  }

  static fixed(issuer: Issuer, vocabulary: unknown): ResourceTypes {
    return new ResourceTypes(issuer, Vocabulary.parse(vocabulary), undefined);
  }

  get current(): Vocabulary {
    return this.#current;
  }

  /** Asks again each minute. Where there is no answer, what is known stays. */
  async follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await pause(EVERY, signal);
      try {
        signal.throwIfAborted();
        const document = await this.#issuer.document(PATH, this.#etag, signal);
        if (document.text === undefined) continue;
        this.#current = Vocabulary.parse(parseJson(document.text));
        this.#etag = document.etag;
      } catch {
        // The feed tells of an issuer that is away.
      }
    }
  }
}
