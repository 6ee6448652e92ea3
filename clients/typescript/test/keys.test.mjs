import assert from 'node:assert/strict';
import { test } from 'node:test';
import { exportJWK, generateKeyPair } from 'jose';
import { KeySet } from '../dist/keys.js';

async function jwk(kid, more = {}) {
  const { publicKey } = await generateKeyPair('EdDSA', { extractable: true });
  return { ...await exportJWK(publicKey), kid, alg: 'EdDSA', ...more };
}

/** A key set whose issuer answers with these keys, and whose clock the test moves. */
async function keySet(keys) {
  const source = { keys, asked: 0, now: 0 };
  const load = async () => {
    source.asked += 1;
    if (!source.keys) throw new Error('away');
    return JSON.stringify({ keys: source.keys });
  };
  return { source, set: await KeySet.from(load, () => source.now) };
}

test('keys that nobody knows cost one request in ten seconds', async () => {
  const [one, two] = [await jwk('one'), await jwk('two')];
  const { source, set } = await keySet([one]);
  for (let n = 0; n < 100; n += 1) assert.equal(await set.find(`unknown-${n}`), undefined);
  assert.equal(source.asked, 1);
  source.keys = [one, two];
  source.now = 10_000;
  const found = await Promise.all(Array.from({ length: 50 }, () => set.find('two')));
  assert.ok(found.every((key) => key?.kid === 'two'), 'all wait for the one request');
  assert.equal(source.asked, 2);
});

test('a key that was taken back verifies nothing any more, and an issuer that is away takes none back', async () => {
  const [one, two] = [await jwk('one'), await jwk('two')];
  const { source, set } = await keySet([one, two]);
  const known = await set.find('one');
  source.keys = undefined;
  source.now = 10_000;
  // Whether there is such a key is not known then, and is asked again soon.
  await assert.rejects(set.find('three'), { code: 'no_keys', status: 503 });
  assert.ok(set.holds(known));
  source.keys = [two];
  source.now = 10_999;
  await assert.rejects(set.find('three'), { code: 'no_keys' });
  source.now = 11_000;
  assert.equal(await set.find('three'), undefined);
  assert.ok(!set.holds(known));
  assert.equal(await set.find('one'), undefined);
});

test('one key that cannot be used takes nothing from the others, and none at all is no key set', async () => {
  const good = await jwk('good');
  const rsa = await generateKeyPair('PS256', { extractable: true });
  const broken = [
    { ...await exportJWK(rsa.publicKey), kid: 'padding', alg: 'PS256' },
    null, 'x', {}, await jwk('short', { x: 'AA' }), await jwk('curve', { crv: 'Ed448' }), await jwk(7),
    await jwk('inherited', { alg: 'constructor' }), { kid: 'octets', kty: 'oct', k: 'c2VjcmV0', alg: 'HS256' },
  ];
  const { set } = await keySet([...broken, good]);
  assert.equal((await set.find('good'))?.algorithm, 'EdDSA');
  for (const kid of ['padding', 'short', 'curve', 'inherited', 'octets']) assert.equal(await set.find(kid), undefined, kid);
  await assert.rejects(keySet(broken), /no key/);
});
