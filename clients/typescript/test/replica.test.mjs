import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAccessClaims } from '../dist/access_token.js';
import { BoundedCache } from '../dist/bounded_cache.js';
import { Replica } from '../dist/feed/replica.js';
import { claimsWith, table } from './tables.mjs';

const token = parseAccessClaims(claimsWith(table('streams.json').token));

function replica(clock) {
  const clocks = { monotonic: () => clock.monotonic, wall: () => clock.wall };
  return new Replica({ clocks, staleAfter: 5000, skew: 5 });
}
const accept = (reader, event, data) => reader.accept({ event, data: JSON.stringify(data) });
const entry = (position, more = {}) => ({
  position, target: 'session', value: 'AgICAgICAgICAgICAgICAg', at: 1000, expires_at: 2000, ...more,
});

test('it is stale until the first copy is whole, and when no sign of life has come for too long', () => {
  const clock = { monotonic: 100, wall: 1000 };
  const reader = replica(clock);
  assert.ok(reader.isStale);
  accept(reader, 'reset', { position: 7 });
  accept(reader, 'revocation', entry(7));
  assert.ok(reader.isStale && !reader.ends(token), 'half a copy is none');
  assert.ok(accept(reader, 'position', { position: 7 }));
  assert.ok(!reader.isStale && reader.ends(token));
  clock.monotonic += 5000;
  assert.ok(!reader.isStale);
  clock.monotonic += 1;
  assert.ok(reader.isStale && reader.ends(token), 'what is known goes on counting');
  assert.ok(!accept(reader, 'revocation', entry(8)));
  assert.ok(reader.isStale, 'an entry does not say that there is no other');
  accept(reader, 'position', { position: 8 });
  assert.ok(!reader.isStale);
  reader.close();
  assert.ok(reader.isStale);
});

test('what the server knew long ago is old', () => {
  const reader = replica({ monotonic: 10_000, wall: 1000 });
  accept(reader, 'reset', { position: 7 });
  accept(reader, 'position', { position: 7, age_ms: 4999 });
  assert.ok(!reader.isStale);
  accept(reader, 'position', { position: 7, age_ms: 5001 });
  assert.ok(reader.isStale);
});

test('an older copy revives nothing, until nothing has been heard for too long', () => {
  const clock = { monotonic: 100, wall: 1000 };
  const reader = replica(clock);
  assert.ok(reader.replace([entry(7)], 7, 100));
  assert.ok(!reader.replace([], 6, 100) && reader.ends(token));
  clock.monotonic += 5001;
  assert.ok(reader.replace([], 6, clock.monotonic) && !reader.ends(token));
});

test('the wall clock says nothing about staleness', () => {
  const clock = { monotonic: 0, wall: 1000 };
  const reader = replica(clock);
  accept(reader, 'reset', { position: 7 });
  accept(reader, 'position', { position: 7 });
  clock.wall = 0;
  assert.ok(!reader.isStale);
  clock.wall = 1e9;
  assert.ok(!reader.isStale);
});

test('an entry is forgotten when nothing that it could hit is alive, and not before', () => {
  const clock = { monotonic: 0, wall: 1000 };
  const reader = replica(clock);
  accept(reader, 'reset', { position: 7 });
  const targets = ['token', 'session', 'subject', 'tenant', 'client', 'provider', 'api_key', 'role', 'template_version', 'planet'];
  targets.forEach((target, at) => accept(reader, 'revocation', entry(at, { target })));
  accept(reader, 'revocation', entry(7, { target: 'before', value: 900 }));
  accept(reader, 'revocation', entry(7, { target: 'role', value: 'x', tenant: 'globex', expires_at: 3000 }));
  accept(reader, 'position', { position: 20 });
  assert.equal(reader.size, 12);
  for (const [wall, size] of [[2000, 12], [2004.9, 12], [2005, 1], [3005, 0]]) {
    Object.assign(clock, { wall, monotonic: clock.monotonic + 60_000 });
    accept(reader, 'position', { position: 20 });
    assert.equal(reader.size, size, `at ${wall}`);
  }
  for (let position = 21; position < 20_000; position += 1) {
    clock.wall += 0.1;
    clock.monotonic += 100;
    accept(reader, 'revocation', entry(position, { value: `s${position}`, expires_at: Math.ceil(clock.wall) + 1 }));
    accept(reader, 'position', { position });
    assert.ok(reader.size < 200, `${reader.size} are held`);
  }
});

test('a second entry on the same target neither shortens the first nor adds to it', () => {
  const clock = { monotonic: 0, wall: 1000 };
  const reader = replica(clock);
  accept(reader, 'reset', { position: 7 });
  accept(reader, 'revocation', entry(6, { expires_at: 3000 }));
  accept(reader, 'revocation', entry(7, { expires_at: 2000 }));
  accept(reader, 'position', { position: 7 });
  assert.equal(reader.size, 1);
  Object.assign(clock, { wall: 2900, monotonic: 60_000 });
  accept(reader, 'position', { position: 7 });
  assert.ok(reader.ends(token));
});

test('the cache keeps what was used last, up to its weight', () => {
  const cache = new BoundedCache(100);
  for (let n = 10; n < 99; n += 1) {
    cache.set(`key-${n}-xxx`, n);
    assert.equal(cache.get('key-10-xxx'), 10, 'used all the while');
    assert.ok(cache.size <= 10);
  }
  assert.equal(cache.get('key-50-xxx'), undefined);
  assert.equal(cache.get('key-98-xxx'), 98);
  cache.set('key-98-xxx', 1);
  assert.equal(cache.size, 10);
  cache.set('x'.repeat(101), 1);
  assert.equal(cache.size, 0, 'one that is too heavy by itself');
});
