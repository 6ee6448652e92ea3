// The server that tokens come from, over HTTP.
import { isObject, member, parseJson } from './json.js';

/** What the issuer answered, or that it did not. Nothing of what was sent is in it. */
export class IssuerProblem extends Error {
  override readonly name = 'IssuerProblem';
}

const TIMEOUT = 5_000;
const MAX_BODY = 64 * 1024 * 1024;

export interface Document {
  /** Undefined: it still is the one with the tag that was sent. */
  readonly text: string | undefined;
  readonly etag: string | undefined;
  /** So many milliseconds ago it was so (RFC 9111 §5.1). */
  readonly age: number;
}

export class Issuer {
  readonly url: string;
  readonly #authorization: string;

  constructor(url: string, clientId: string, clientSecret: string) {
    this.url = url;
    // RFC 6749 §2.3.1: both are form-encoded before they are joined.
    const pair = [clientId, clientSecret].map((part) => new URLSearchParams([['', part]]).toString().slice(1));
    this.#authorization = `Basic ${Buffer.from(pair.join(':')).toString('base64')}`;
  }

  /** Where its public keys are, by its metadata. */
  async keysAddress(signal: AbortSignal): Promise<string> {
    const address = `${this.url}/.well-known/openid-configuration`;
    const metadata = parseJson(await this.publicDocument(address, signal));
    if (!isObject(metadata)) throw new IssuerProblem(`${address} is no metadata`);
    if (member(metadata, 'issuer') !== this.url) throw new IssuerProblem(`${address} is the metadata of another issuer`);
    const keys = member(metadata, 'jwks_uri');
    if (typeof keys !== 'string' || !isProtected(keys)) throw new IssuerProblem(`${address} names no address of keys`);
    return keys;
  }

  /** A public document, at an address of the metadata. */
  async publicDocument(address: string, signal: AbortSignal): Promise<string> {
    return (await load(address, {}, signal)).text ?? '';
  }

  /** A document for this client, if it is not the one with this tag. */
  async document(path: string, etag: string | undefined, signal: AbortSignal): Promise<Document> {
    const headers = { authorization: this.#authorization, ...(etag === undefined ? {} : { 'if-none-match': etag }) };
    return load(this.url + path, headers, signal);
  }

  /** Tells the issuer something. */
  async post(path: string, body: unknown, signal: AbortSignal): Promise<void> {
    const headers = { authorization: this.#authorization, 'content-type': 'application/json' };
    await inTime(signal, async (limit) => {
      const init = { method: 'POST', headers, body: JSON.stringify(body), signal: limit };
      const response = await request(this.url + path, init);
      await response.body?.cancel();
      if (!response.ok) throw refused(path, response);
    });
  }

  /** An event stream. It stays open until `signal` ends it. */
  async stream(path: string, lastEventId: string | undefined, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
    const headers = {
      authorization: this.#authorization,
      accept: 'text/event-stream',
      'cache-control': 'no-store',
      ...(lastEventId === undefined ? {} : { 'last-event-id': lastEventId }),
    };
    const response = await request(this.url + path, { headers, signal });
    const kind = response.headers.get('content-type')?.split(';')[0]?.trim().toLowerCase();
    if (response.status !== 200 || kind !== 'text/event-stream' || !response.body) {
      await response.body?.cancel();
      throw refused(path, response);
    }
    return response.body;
  }
}

function load(address: string, headers: Record<string, string>, signal: AbortSignal): Promise<Document> {
  return inTime(signal, async (limit) => {
    const response = await request(address, { headers, signal: limit });
    const age = 1000 * Math.max(0, Number(response.headers.get('age')) || 0);
    if (response.status === 200) {
      return { text: await bounded(response), etag: response.headers.get('etag') ?? undefined, age };
    }
    await response.body?.cancel();
    if (response.status === 304) return { text: undefined, etag: undefined, age };
    throw refused(new URL(address).pathname, response);
  });
}

/** https, or http on this machine. */
export function isProtected(address: string): boolean {
  if (!URL.canParse(address)) return false;
  const { protocol, hostname } = new URL(address);
  const loopback = hostname === 'localhost' || hostname === '[::1]' || hostname === '127.0.0.1';
  return protocol === 'https:' || (protocol === 'http:' && loopback);
}

/** Redirects are not followed: they could lead the client's secret elsewhere. */
async function request(address: string, init: RequestInit): Promise<Response> {
  try {
    return await fetch(address, { ...init, redirect: 'error' });
  } catch (cause) {
    throw new IssuerProblem(`${new URL(address).pathname} cannot be reached`, { cause });
  }
}

function refused(path: string, response: Response): IssuerProblem {
  return new IssuerProblem(`${path.split('?')[0]} answered with ${response.status}`);
}

/** Does it within a few seconds, or until `signal` says that it is not wanted any more. */
async function inTime<T>(signal: AbortSignal, work: (limit: AbortSignal) => Promise<T>): Promise<T> {
  const controller = new AbortController();
  const abort = () => controller.abort(signal.reason);
  const timer = setTimeout(() => controller.abort(new IssuerProblem('the issuer took too long')), TIMEOUT);
  timer.unref();
  signal.addEventListener('abort', abort, { once: true });
  try {
    signal.throwIfAborted();
    return await work(controller.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener('abort', abort);
  }
}

async function bounded(response: Response): Promise<string> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body ?? []) {
    size += part.length;
    if (size > MAX_BODY) throw new IssuerProblem('a document of the issuer is too large');
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}
