// Server-sent events (WHATWG HTML §9.2), from bytes that may be cut anywhere.

export interface ServerSentEvent {
  readonly event: string;
  readonly data: string;
}

/** What comes is no event stream, or not one that may be held in memory. */
export class BrokenStream extends Error {
  override readonly name = 'BrokenStream';
}

/** In bytes: of a line, and of the data of an event. */
const LIMIT = 64 * 1024;

export class EventStreamParser {
  // Fatal: a character that was replaced would be an entry that names something else.
  readonly #decoder = new TextDecoder('utf-8', { fatal: true });
  #line = '';
  #lineSize = 0;
  /** The last character was a CR: an LF now belongs to it. */
  #afterCr = false;
  #event = '';
  #data: string[] = [];
  #dataSize = 0;

  /** The events that are complete with these bytes. Those before something that is broken come before the error. */
  * push(bytes: Uint8Array): Generator<ServerSentEvent, void> {
    let text = this.#decode(bytes);
    if (text === '') return;
    if (this.#afterCr && text.startsWith('\n')) text = text.slice(1);
    this.#afterCr = text.endsWith('\r');
    const lines = text.split(/\r\n|\n|\r/);
    const rest = lines.pop() ?? '';
    for (const line of lines) {
      this.#grow(line);
      const whole = this.#line;
      this.#line = '';
      this.#lineSize = 0;
      const event = this.#take(whole);
      if (event) yield event;
    }
    this.#grow(rest);
  }

  #decode(bytes: Uint8Array): string {
    try {
      return this.#decoder.decode(bytes, { stream: true });
    } catch {
      throw new BrokenStream('the event stream is not UTF-8');
    }
  }

  #grow(text: string): void {
    this.#lineSize += Buffer.byteLength(text);
    if (this.#lineSize > LIMIT) throw new BrokenStream('a line of the event stream is too long');
    this.#line += text;
  }

  #take(line: string): ServerSentEvent | undefined {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    // Comments have no field; ids are the positions that stand in the data.
    if (field === 'event') this.#event = value;
    if (field === 'data') {
      this.#dataSize += Buffer.byteLength(value) + 1;
      if (this.#dataSize > LIMIT) throw new BrokenStream('an event of the stream is too long');
      this.#data.push(value);
    }
    return undefined;
  }

  #dispatch(): ServerSentEvent | undefined {
    const event = this.#data.length > 0
      ? { event: this.#event || 'message', data: this.#data.join('\n') }
      : undefined;
    this.#event = '';
    this.#data = [];
    this.#dataSize = 0;
    return event;
  }
}
