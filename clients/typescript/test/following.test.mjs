import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { afterEach, beforeEach, test } from 'node:test';
import { promisify } from 'node:util';
import { IssuerProblem, Verifier } from '../dist/index.js';
import { AUDIENCE, CLIENT, entry, frame, Issuer, soon } from './issuer.mjs';

let issuer;
let open = [];

beforeEach(async () => {
  issuer = await Issuer.start();
});
afterEach(async () => {
  open.forEach((verifier) => verifier.close());
  open = [];
  await issuer.stop();
});

async function start(more) {
  const verifier = await Verifier.start(issuer.options(more));
  open.push(verifier);
  return verifier;
}

const codeOf = async (promise) => promise.then(() => 'good', ({ code }) => code);
const feeds = () => issuer.asked('/v1/revocations');
const beginning = (position, ...entries) => [
  frame('reset', { position }), ...entries.map((data) => frame('revocation', data)),
  frame('position', { position }, position),
].join('');

test('it authenticates as RFC 6749 says, and asks for its audience and the tenants that it was told', async () => {
  const verifier = await start({ tenants: ['acme', 'globex'] });
  assert.ok(!verifier.isStale && verifier.position === 10);
  const [{ url, headers }] = feeds();
  assert.equal(url, `/v1/revocations?audience=${encodeURIComponent(AUDIENCE)}&tenant=acme&tenant=globex`);
  const [id, secret] = Buffer.from(headers.authorization.slice('Basic '.length), 'base64').toString().split(':');
  assert.deepEqual([id, secret], [CLIENT.clientId, 's3cret+%2B%2F%2541%3A%C3%A9']);
  assert.equal(headers['last-event-id'], undefined);
  for (const tenant of ['acme', 'globex']) assert.ok(await verifier.verify(await issuer.token({ tenant })));
  const other = verifier.verify(await issuer.token({ tenant: 'acme-corp' }), { onStale: 'allow' });
  assert.equal(await codeOf(other), 'tenant', 'whose revocations are not heard of');
});

test('a connection that ends is made again, and goes on where it was', async () => {
  issuer.feed(
    beginning(10) + frame('revocation', entry(11, 'session', 's1'), 11),
    // Half a copy, and what looks like its other half.
    frame('reset', { position: 12 }),
    frame('position', { position: 12 }, 12),
    beginning(13, entry(11, 'session', 's1')),
  );
  const verifier = await start();
  await soon('the fourth connection', () => feeds().length === 4 && verifier.position === 13);
  assert.deepEqual(feeds().map(({ headers }) => headers['last-event-id']), [undefined, '11', undefined, undefined]);
  assert.equal(await codeOf(verifier.verify(await issuer.token())), 'revoked');
});

test('what is no feed ends the connection, and the next one begins anew', async () => {
  issuer.feed(beginning(10) + frame('revocation', { position: 11 }, 11), beginning(20));
  const verifier = await start();
  await soon('another connection', () => verifier.position === 20);
  assert.equal(feeds()[1].headers['last-event-id'], undefined);
});

test('a silent connection is given up before everything is stale', async () => {
  issuer.feed(beginning(10));
  const verifier = await start();
  await soon('another connection', () => feeds().length >= 2);
  assert.ok(!verifier.isStale);
  assert.equal(feeds()[1].headers['last-event-id'], '10');
});

test('without a sign of life it refuses, unless the route says otherwise, and it recovers', async () => {
  const problems = [];
  const verifier = await start({ staleAfterMs: 300, onProblem: (problem) => problems.push(problem) });
  const token = await issuer.token();
  assert.equal(await codeOf(verifier.verify(token)), 'good');
  issuer.answers.set('/v1/revocations', (_, response) => response.writeHead(503).end());
  issuer.stream.destroy();
  await soon('staleness', () => verifier.isStale);
  assert.equal(await codeOf(verifier.verify(token)), 'stale');
  assert.equal(await codeOf(verifier.verify(token, { onStale: 'refuse' })), 'stale');
  assert.ok((await verifier.verify(token, { onStale: 'allow' })).isStale);
  await soon('attempts', () => feeds().length >= 4);
  assert.equal(problems.length, 1, 'an outage is told once');
  assert.ok(problems[0] instanceof Error);
  issuer.feed(beginning(10));
  await soon('recovery', () => !verifier.isStale);
});

test('whatever becomes of those who are told, it goes on', async () => {
  const verifier = await start({ staleAfterMs: 300, onProblem: () => { throw new Error('of the application'); } });
  issuer.answers.set('/v1/revocations', (_, response) => response.writeHead(503).end());
  issuer.stream.destroy();
  await soon('staleness', () => verifier.isStale);
  issuer.feed(beginning(10));
  await soon('recovery', () => !verifier.isStale);
  // And resource types that are none leave nothing under way.
  await assert.rejects(start({ vocabulary: {} }));
});

test('it starts stale where the revocations do not come, and not at all where the client is refused', async () => {
  issuer.answers.set('/v1/revocations', (_, response) => {
    response.writeHead(200, { 'content-type': 'text/html' }).end(beginning(10));
  });
  const verifier = await start({ staleAfterMs: 100 });
  assert.ok(verifier.isStale && verifier.position === undefined);
  assert.equal(await codeOf(verifier.verify(await issuer.token())), 'stale');
  issuer.answers.set('/v1/resource-types', (_, response) => response.writeHead(401).end());
  await assert.rejects(start(), /answered with 401/);
});

test('the metadata is this issuer\'s, and no redirect is followed', async () => {
  issuer.at('/.well-known/openid-configuration', () => ({ issuer: 'https://other.example', jwks_uri: `${issuer.url}/oauth2/jwks` }));
  await assert.rejects(start(), /another issuer/);
  for (const jwks of ['http://keys.example/jwks', 'file:///etc/passwd', 'x', undefined]) {
    issuer.at('/.well-known/openid-configuration', () => ({ issuer: issuer.url, jwks_uri: jwks }));
    await assert.rejects(start(), /names no address of keys/);
  }
  issuer.at('/.well-known/openid-configuration', () => ({ issuer: issuer.url, jwks_uri: `${issuer.url}/oauth2/jwks` }));
  issuer.answers.set('/v1/resource-types', (_, response) => response.writeHead(307, { location: '/elsewhere' }).end());
  await assert.rejects(start(), IssuerProblem);
  assert.equal(issuer.asked('/elsewhere').length, 0);
});

test('it reports what it has applied, once a second at most', async () => {
  const verifier = await start({ reader: 'api-1' });
  const reports = () => issuer.asked('/v1/revocations/applied').map(({ body }) => JSON.parse(body));
  await soon('the first report', () => reports().length > 0);
  for (let position = 11; position <= 60; position += 1) {
    issuer.stream.write(frame('revocation', entry(position, 'session', `x${position}`), position));
  }
  await soon('the last one', () => reports().at(-1).position === 60);
  assert.deepEqual(reports()[0], { reader: 'api-1', position: 10 });
  assert.ok(reports().length <= 3 && verifier.position === 60, JSON.stringify(reports()));
});

async function snapshot(claims = {}, { kid = 'one', header = {} } = {}) {
  const { privateKey, algorithm } = issuer.keys.get(kid);
  const now = Math.floor(Date.now() / 1000);
  const all = { iss: issuer.url, aud: CLIENT.clientId, iat: now, exp: now + 300, position: 10, entries: [], ...claims };
  return issuer.sign(all, { alg: algorithm, kid, typ: 'revocations+jwt', ...header }, privateKey);
}

/** The snapshot that is answered from now on, and how often it was sent whole. */
function serve(text, etag) {
  const served = { whole: 0 };
  issuer.answers.set('/v1/revocations/snapshot', (request, response) => {
    if (request.headers['if-none-match'] === etag) response.writeHead(304).end();
    else {
      served.whole += 1;
      response.writeHead(200, { 'content-type': 'application/jwt', etag }).end(text);
    }
  });
  return served;
}

test('a signed copy of the log serves as well, and is not sent again while it is the same', async () => {
  const served = serve(await snapshot(), '"10"');
  const verifier = await start({ follow: { everyMs: 20 }, staleAfterMs: 1_000 });
  const token = await issuer.token();
  assert.equal(await codeOf(verifier.verify(token)), 'good');
  await soon('more requests', () => issuer.asked('/v1/revocations/snapshot').length > 5);
  assert.ok(served.whole === 1 && !verifier.isStale);
  assert.equal(feeds().length, 0);
  serve(await snapshot({ position: 11, entries: [entry(11, 'tenant', 'acme')] }), '"11"');
  await soon('the new copy', () => verifier.position === 11);
  assert.equal(await codeOf(verifier.verify(token)), 'revoked');
  issuer.answers.delete('/v1/revocations/snapshot');
  await soon('staleness', () => verifier.isStale);
  assert.equal(await codeOf(verifier.verify(await issuer.token({ tenant: 'globex' }))), 'stale');
});

test('a copy of the log that is not for this reader, now, is not used', async () => {
  const now = Math.floor(Date.now() / 1000);
  const wrong = {
    'an access token': await snapshot({}, { header: { typ: 'at+jwt' } }),
    'another key': await snapshot({}, { kid: 'two', header: { kid: 'one', alg: 'ES256' } }),
    'another issuer': await snapshot({ iss: 'https://other.example' }),
    'another client': await snapshot({ aud: 'other' }),
    'long ago': await snapshot({ iat: now - 900, exp: now - 600 }),
    'in the future': await snapshot({ iat: now + 60 }),
    'no position': await snapshot({ position: null }),
    'no entries': await snapshot({ entries: null }),
    'an entry that is none': await snapshot({ entries: [{}] }),
    'no snapshot': 'x',
  };
  serve(await snapshot({ iat: now - 10 }), '"10"');
  const verifier = await start({ follow: { everyMs: 20 }, staleAfterMs: 60_000 });
  wrong['an older one, shown again'] = await snapshot({ position: 9 });
  for (const [what, text] of Object.entries(wrong)) {
    const served = serve(text, '"wrong"');
    await soon(what, () => served.whole > 1);
    assert.equal(verifier.position, 10, what);
  }
  serve(await snapshot({ position: 12 }), '"12"');
  await soon('a good one', () => verifier.position === 12);
});

test('what cannot be meant is refused at once', async () => {
  for (const wrong of [
    { issuer: 'http://tokens.example' }, { issuer: `${issuer.url}/` }, { issuer: 'x' }, { audience: '' },
    { clientSecret: undefined }, { reader: 'a b' }, { reader: 'x'.repeat(65) }, { staleAfterMs: 0 },
    { staleAfterMs: NaN }, { tenants: [] }, { follow: { everyMs: 5000 } }, { follow: { everyMs: 0 } },
  ]) {
    await assert.rejects(start(wrong), TypeError, JSON.stringify(wrong));
  }
});

test('a process whose verifier is closed comes to its end', async () => {
  const program = `
    import { Verifier } from ${JSON.stringify(new URL('../dist/index.js', import.meta.url).href)};
    const verifier = await Verifier.start(${JSON.stringify(issuer.options({ reader: 'brief' }))});
    console.log(verifier.position);
    verifier.close();
    console.log(verifier.isStale);
  `;
  const run = promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], { timeout: 20_000 });
  assert.equal((await run).stdout, '10\ntrue\n');
});
