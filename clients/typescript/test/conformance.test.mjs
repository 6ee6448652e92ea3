import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseAccessClaims } from '../dist/access_token.js';
import { BrokenStream, EventStreamParser } from '../dist/feed/event_stream.js';
import { Replica } from '../dist/feed/replica.js';
import { PermissionSet } from '../dist/permission/set.js';
import { Vocabulary } from '../dist/permission/vocabulary.js';
import { parseRevocation } from '../dist/revocation/entry.js';
import { RevocationView } from '../dist/revocation/view.js';
import { claimsWith, table } from './tables.mjs';

test('permissions allow what the table says', () => {
  const { vocabularies, cases } = table('permissions.json');
  for (const { name, vocabulary, permissions, checks } of cases) {
    const set = PermissionSet.parse(permissions, Vocabulary.parse(vocabularies[vocabulary]));
    for (const { action, resource, allowed } of checks) {
      assert.equal(set.allows(action, resource), allowed, `${name}: ${action} ${JSON.stringify(resource)}`);
    }
  }
});

test('revocations end what the table says', () => {
  const { token, cases } = table('revocations.json');
  for (const { name, claims, entries, dead } of cases) {
    const view = new RevocationView();
    for (const entry of entries) {
      view.apply(parseRevocation({ at: 1790000000, expires_at: 1790086400, ...entry }));
    }
    const parsed = parseAccessClaims(claimsWith(token, claims));
    assert.equal(view.ends(parsed), dead, name);
  }
});

/** What a reader knows after these connections, each of which comes in pieces of some size. */
function read(connections, size) {
  const clocks = { monotonic: () => 0, wall: () => 1790000100 };
  const replica = new Replica({ clocks, staleAfter: 5000, skew: 0 });
  let givenUp = false;
  for (const connection of connections) {
    const text = Array.isArray(connection) ? connection.map((line) => `${line}\n`).join('') : connection;
    const bytes = Buffer.from(text);
    const parser = new EventStreamParser();
    givenUp = false;
    try {
      for (let at = 0; at < bytes.length; at += size) {
        for (const event of parser.push(bytes.subarray(at, at + size))) replica.accept(event);
      }
    } catch (error) {
      assert.ok(error instanceof BrokenStream, error);
      replica.losePlace();
      givenUp = true;
    }
    // As it would be when the connection is lost; a reset that is not complete is none.
    replica.interrupted();
  }
  return { replica, givenUp };
}

test('streams are read as the table says, wherever they are cut', () => {
  const { token, tokens, cases } = table('streams.json');
  const known = Object.entries(tokens).map(([name, claims]) => [name, parseAccessClaims(claimsWith(token, claims))]);
  for (const { name, connections, expect } of cases) {
    for (const size of [1, 2, 3, 5, 7, 64, 100_000]) {
      const { replica, givenUp } = read(connections, size);
      const what = `${name}, in pieces of ${size}`;
      assert.equal(replica.isStale, !expect.complete, what);
      assert.equal(givenUp, expect.given_up, what);
      assert.equal(replica.resumesAt ?? null, expect.resume, what);
      if (!expect.complete) continue;
      assert.equal(replica.position, expect.position, what);
      assert.deepEqual(known.filter(([, claims]) => replica.ends(claims)).map(([id]) => id), expect.dead, what);
    }
  }
});
