// An issuer whose every answer the test decides, for what a real one does not do when it is asked to. Against
// real ones the client is tested by tests/it/typescript_client.rs.
import { createServer } from 'node:http';
import { setTimeout } from 'node:timers/promises';
import { exportJWK, generateKeyPair, SignJWT } from 'jose';
import { table } from './tables.mjs';

export const AUDIENCE = 'https://api.example';
export const CLIENT = { clientId: 'api', clientSecret: 's3cret +/%41:é' };

/** One event of the feed. */
export function frame(event, data, id) {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
}

export function entry(position, target, value, more = {}) {
  const now = Math.floor(Date.now() / 1000);
  return { position, target, value, at: now, expires_at: now + 900, ...more };
}

export class Issuer {
  /** By path: what is answered there. Each is given request and response. */
  answers = new Map();
  /** All that was asked for: `{ path, headers, body }`. */
  requests = [];
  keys = new Map();
  vocabulary = table('permissions.json').vocabularies.standard;
  #server = createServer((request, response) => this.#answer(request, response));

  static async start() {
    const issuer = new Issuer();
    await new Promise((resolve) => { issuer.#server.listen(0, '127.0.0.1', resolve); });
    issuer.url = `http://127.0.0.1:${issuer.#server.address().port}`;
    for (const [kid, algorithm] of [['one', 'EdDSA'], ['two', 'ES256'], ['three', 'RS256']]) {
      issuer.keys.set(kid, { algorithm, ...await generateKeyPair(algorithm, { extractable: true }) });
    }
    issuer.at('/.well-known/openid-configuration', () => ({ issuer: issuer.url, jwks_uri: `${issuer.url}/oauth2/jwks` }));
    issuer.at('/oauth2/jwks', () => issuer.jwks());
    issuer.at('/v1/resource-types', () => issuer.vocabulary);
    issuer.feed(frame('reset', { position: 10 }) + frame('position', { position: 10 }, 10));
    issuer.answers.set('/v1/revocations/applied', (_, response) => response.writeHead(204).end());
    return issuer;
  }

  at(path, document) {
    this.answers.set(path, async (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json', etag: '"1"' }).end(JSON.stringify(await document()));
    });
  }

  /** What each connection to the feed is sent, one after the other; the last one stays open, as `stream`. */
  feed(...connections) {
    let next = 0;
    this.answers.set('/v1/revocations', async (_, response) => {
      const last = next === connections.length - 1;
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      response.write(connections[next]);
      if (!last) {
        next += 1;
        response.end();
        return;
      }
      this.stream = response;
    });
  }

  asked(path) {
    return this.requests.filter((request) => request.path === path);
  }

  async jwks() {
    const keys = [...this.keys].map(async ([kid, { publicKey, algorithm, says = {} }]) => (
      { ...await exportJWK(publicKey), kid, alg: algorithm, use: 'sig', ...says }
    ));
    return { keys: await Promise.all(keys) };
  }

  /** An access token that is good, but for what is said. */
  async token(claims = {}, { kid = 'one', key = kid, header = {} } = {}) {
    const now = Math.floor(Date.now() / 1000);
    const all = {
      iss: this.url, sub: 'u_dana', aud: AUDIENCE, exp: now + 900, iat: now, jti: 'j1', client_id: 'web',
      sid: 's1', tenant: 'acme', provider: 'corp', roles: ['data-entry'], scope: 'openid email',
      authorization_details: [{ type: 'cache', role: 'readonly', cache: 'calendar-events', item: { keyPrefix: 'acme:' } }],
      tpl: ['data-entry@1'], rev: 10, ...claims,
    };
    const { privateKey, algorithm } = this.keys.get(key);
    return this.sign(all, { alg: algorithm, kid, typ: 'at+jwt', ...header }, privateKey);
  }

  async sign(claims, header, key) {
    const present = Object.entries(claims).filter(([, value]) => value !== null);
    const kept = Object.entries(header).filter(([, value]) => value !== undefined);
    return new SignJWT(Object.fromEntries(present)).setProtectedHeader(Object.fromEntries(kept)).sign(key);
  }

  options(more = {}) {
    return { issuer: this.url, audience: AUDIENCE, ...CLIENT, ...more };
  }

  async stop() {
    this.#server.closeAllConnections();
    await new Promise((resolve) => { this.#server.close(resolve); });
  }

  async #answer(request, response) {
    let body = '';
    for await (const part of request) body += part;
    const path = request.url.split('?')[0];
    this.requests.push({ path, url: request.url, headers: request.headers, body });
    const answer = this.answers.get(path);
    if (answer) await answer(request, response);
    else response.writeHead(404).end();
  }
}

/** What comes of asking again and again. */
export async function soon(what, ask) {
  for (const end = Date.now() + 20_000; Date.now() < end; await setTimeout(10)) {
    const answer = await ask();
    if (answer) return answer;
  }
  throw new Error(`${what}: not in 20 s`);
}
