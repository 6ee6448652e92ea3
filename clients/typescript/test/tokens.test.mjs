import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { generateKeyPair } from 'jose';
import { bearerToken, NotVerified, Verifier } from '../dist/index.js';
import { AUDIENCE, entry, frame, Issuer, soon } from './issuer.mjs';

let issuer;
let verifier;

before(async () => {
  issuer = await Issuer.start();
  // One key that names the wrong algorithm, one that names none, one for encryption.
  const own = issuer.keys.get('two');
  issuer.keys.set('liar', { ...own, says: { alg: 'EdDSA' } });
  issuer.keys.set('silent', { ...own, says: { alg: undefined } });
  issuer.keys.set('encrypting', { ...own, says: { use: 'enc' } });
  verifier = await Verifier.start(issuer.options({ staleAfterMs: 600_000 }));
});
after(async () => {
  verifier.close();
  await issuer.stop();
});

async function refusal(token, of = verifier) {
  const error = await of.verify(token).then(() => undefined, (thrown) => thrown);
  assert.ok(error instanceof NotVerified, `${error ?? 'it was taken'}`);
  return error.code;
}

test('a token is taken, whatever its algorithm', async () => {
  for (const kid of issuer.keys.keys()) {
    if (!['one', 'two', 'three'].includes(kid)) continue;
    const token = await verifier.verify(await issuer.token({}, { kid }));
    assert.deepEqual([token.subject, token.tenant], ['u_dana', 'acme']);
    assert.ok(token.allows('get', { type: 'cache', cache: 'calendar-events', item: 'acme:7' }));
    assert.ok(!token.allows('get', { cache: 'calendar-events', item: 'acme-corp:7' }));
    assert.ok(!token.allows('set', { cache: 'calendar-events', item: 'acme:7' }));
    assert.ok(token.hasScope('email') && !token.hasScope('profile'));
  }
  assert.ok(await verifier.verify(await issuer.token({}, { header: { typ: 'application/at+jwt' } })));
  assert.ok(await verifier.verify(await issuer.token({ aud: ['https://other.example', AUDIENCE] })));
});

test('the header of a token decides nothing', async () => {
  const good = await issuer.token();
  const [, claims, signature] = good.split('.');
  const headed = (header) => `${Buffer.from(JSON.stringify(header)).toString('base64url')}.${claims}`;
  const wrong = {
    'alg none': [`${headed({ alg: 'none', kid: 'one', typ: 'at+jwt' })}.${signature}`, 'signature'],
    'no signature': [`${headed({ alg: 'none', kid: 'one', typ: 'at+jwt' })}.`, 'malformed'],
    'another algorithm than the key': [await issuer.token({}, { kid: 'one', key: 'two' }), 'signature'],
    'another key than the kid': [await issuer.token({}, { kid: 'two', header: { alg: 'EdDSA' }, key: 'one' }), 'signature'],
    'another name of the algorithm': [await issuer.token({}, { header: { alg: 'Ed25519' } }), 'signature'],
    'an unknown kid': [await issuer.token({}, { kid: '../../x', key: 'one' }), 'unknown_key'],
    'no kid': [await issuer.token({}, { header: { kid: undefined } }), 'malformed'],
    'a JWT of another type': [await issuer.token({}, { header: { typ: 'JWT' } }), 'other_type'],
    'a JWT of no type': [await issuer.token({}, { header: { typ: undefined } }), 'malformed'],
    'a header that says more': [await issuer.token({}, { header: { jku: `${issuer.url}/oauth2/jwks` } }), 'malformed'],
    'a key that names another algorithm': [await issuer.token({}, { kid: 'liar', key: 'two' }), 'unknown_key'],
    'a key that names no algorithm': [await issuer.token({}, { kid: 'silent', key: 'two' }), 'unknown_key'],
    'a key for something else': [await issuer.token({}, { kid: 'encrypting', key: 'two' }), 'unknown_key'],
  };
  for (const [what, [token, code]] of Object.entries(wrong)) assert.equal(await refusal(token), code, what);
  const { privateKey } = await generateKeyPair('EdDSA');
  const stranger = await issuer.sign({ iss: issuer.url }, { alg: 'EdDSA', kid: 'one', typ: 'at+jwt' }, privateKey);
  assert.equal(await refusal(stranger), 'signature');
  const secret = new TextEncoder().encode('x'.repeat(32));
  const symmetric = await issuer.sign({ iss: issuer.url }, { alg: 'HS256', kid: 'one', typ: 'at+jwt' }, secret);
  assert.equal(await refusal(symmetric), 'signature');
});

test('whose a token is, for whom and when is looked at', async () => {
  const now = Math.floor(Date.now() / 1000);
  const wrong = [
    [{ iss: 'https://other.example' }, 'issuer'],
    [{ iss: `${issuer.url}/` }, 'issuer'],
    [{ aud: 'https://other.example' }, 'audience'],
    [{ aud: [`${AUDIENCE}/`] }, 'audience'],
    [{ aud: [] }, 'audience'],
    [{ exp: now - 1 }, 'expired'],
    [{ exp: now }, 'expired'],
    [{ iat: now + 60 }, 'not_yet_valid'],
    [{ nbf: now + 60 }, 'not_yet_valid'],
    [{ nbf: 'soon' }, 'malformed'],
    [{ exp: null }, 'malformed'],
    [{ exp: `${now + 900}` }, 'malformed'],
    [{ exp: now + 0.5 }, 'malformed'],
    [{ aud: null }, 'malformed'],
    [{ jti: null }, 'malformed'],
    [{ sid: null }, 'malformed'],
    [{ tenant: null }, 'malformed'],
    [{ tenant: '' }, 'malformed'],
    [{ provider: null }, 'malformed'],
    [{ client_id: 7 }, 'malformed'],
    [{ roles: 'admin' }, 'malformed'],
    [{ tpl: null }, 'malformed'],
    [{ rev: null }, 'malformed'],
    [{ rev: -1 }, 'malformed'],
    [{ ancestors: 'j0' }, 'malformed'],
  ];
  for (const [claims, code] of wrong) {
    assert.equal(await refusal(await issuer.token(claims)), code, JSON.stringify(claims));
  }
  assert.ok(await verifier.verify(await issuer.token({ iat: now + 2, nbf: now + 2 })), 'clocks differ by seconds');
});

test('what is no access token is told apart, and nothing of it is repeated', async () => {
  for (const [text, code] of [
    [undefined, 'missing'], ['', 'missing'], ['rma_AAAA', 'opaque'], ['x', 'malformed'], ['a.b.c', 'malformed'],
    ['a.b.c.d', 'malformed'], [`${await issuer.token()}.x`, 'malformed'], [` ${await issuer.token()}`, 'malformed'],
    [await issuer.token({ more: 'x'.repeat(64 * 1024) }), 'malformed'],
  ]) {
    assert.equal(await refusal(text), code, text);
  }
  const error = await verifier.verify('s3cret.s3cret.s3cret').catch((thrown) => thrown);
  assert.ok(!`${error.stack}${JSON.stringify(error)}${error.wwwAuthenticate}`.includes('s3cret'));
});

test('a bearer is told what RFC 6750 says', () => {
  const told = (code) => new NotVerified(code).wwwAuthenticate;
  assert.equal(told('missing'), 'Bearer');
  assert.equal(told('expired'), 'Bearer error="invalid_token", error_description="the access token has expired"');
  assert.deepEqual([told('stale'), new NotVerified('stale').status], [undefined, 503]);
  assert.equal(new NotVerified('revoked').status, 401);
  assert.equal(bearerToken('Bearer a.b-c_d.e='), 'a.b-c_d.e=');
  assert.equal(bearerToken('bearer   a '), 'a');
  for (const header of [undefined, '', 'Bearer', 'Bearer ', 'Basic a', 'Bearer a b', 'Bearer a,b', 'xBearer a']) {
    assert.equal(bearerToken(header), undefined, header);
  }
});

test('what is in the cache is revoked and expires like all else', async () => {
  const token = await issuer.token({ sid: 's-cached' });
  const brief = await issuer.token({ exp: Math.floor(Date.now() / 1000) + 2 });
  await verifier.verify(token);
  await verifier.verify(brief);
  const { position } = verifier;
  issuer.stream.write(frame('revocation', entry(position + 1, 'session', 's-cached'), position + 1));
  await soon('the entry', () => verifier.position > position);
  assert.equal(await refusal(token), 'revoked');
  await soon('its end', () => verifier.verify(brief).then(() => false, ({ code }) => code === 'expired'));
});

test('a token whose key was taken back is refused, also from the cache', async () => {
  const token = await issuer.token({}, { kid: 'two' });
  await verifier.verify(token);
  issuer.keys.delete('two');
  const unknown = await issuer.token({}, { kid: 'four', key: 'one' });
  await soon('the new keys', async () => {
    assert.equal(await refusal(unknown), 'unknown_key');
    return verifier.verify(token).then(() => false, ({ code }) => code === 'unknown_key');
  });
  await verifier.verify(await issuer.token());
});
