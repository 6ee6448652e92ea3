import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PermissionSet } from '../dist/permission/set.js';
import { InvalidVocabulary, Vocabulary } from '../dist/permission/vocabulary.js';
import { table } from './tables.mjs';

const lamp = { selectors: ['room', 'lamp'], kind: 'tenant', actions: { look: 'lamp' }, roles: { guest: ['look'] } };

test('a vocabulary must hold together', () => {
  assert.ok(Vocabulary.parse({ types: { lamp } }));
  const wrong = [
    undefined, [], {}, { types: [] }, { types: { lamp: 7 } },
    { types: { lamp: { ...lamp, selectors: [] } } },
    { types: { lamp: { ...lamp, selectors: ['room', 'lamp', 'lamp'] } } },
    { types: { lamp: { ...lamp, selectors: ['type', 'lamp'] } } },
    { types: { lamp: { ...lamp, selectors: 'lamp' } } },
    { types: { lamp: { ...lamp, actions: {} } } },
    { types: { lamp: { ...lamp, actions: { look: 'door' } } } },
    { types: { lamp: { ...lamp, actions: undefined } } },
    { types: { lamp: { ...lamp, roles: {} } } },
    { types: { lamp: { ...lamp, roles: { guest: ['sell'] } } } },
    { types: { lamp: { ...lamp, roles: { guest: 'look' } } } },
    { types: { lamp: { ...lamp, only: 'at night' } } },
    { types: { lamp, bulb: { ...lamp, selectors: ['lamp', 'room', 'bulb'] } } },
    { types: { lamp, room: { ...lamp, selectors: ['lamp'] } } },
  ];
  for (const value of wrong) {
    assert.throws(() => Vocabulary.parse(value), InvalidVocabulary, JSON.stringify(value));
  }
});

test('texts that are no text allow nothing, and a list has its bound', () => {
  const vocabulary = Vocabulary.parse(table('permissions.json').vocabularies.standard);
  const one = (item) => ({ role: 'readonly', cache: 'c', item });
  const reads = (permissions, item) => PermissionSet.parse(permissions, vocabulary).allows('get', { cache: 'c', item });
  const half = '\ud83d';
  assert.ok(!reads([one({ keyPrefix: half })], '\ud83d\udd11'), 'half a character is no prefix');
  assert.ok(!reads([one({ all: true })], half));
  assert.ok(reads([one({ all: true })], 'é'.repeat(512)) && !reads([one({ all: true })], 'é'.repeat(513)));
  const many = Array.from({ length: 257 }, (_, n) => one(`${n}`));
  assert.ok(reads(many.slice(1), '7') && !reads(many, '7'));
});
