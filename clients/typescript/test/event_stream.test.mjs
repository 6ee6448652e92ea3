import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BrokenStream, EventStreamParser } from '../dist/feed/event_stream.js';

const LIMIT = 64 * 1024;
const STREAM = Buffer.from(
  '\ufeff: comment\r\n\r\nevent: reset\r\ndata: {"position":\r\ndata: 1}\r\n\r\rid: 1\nevent:a\ndata:  é🔑\n\ndata\n\nevent: none\n\ndata: end',
);
const EVENTS = [
  { event: 'reset', data: '{"position":\n1}' },
  { event: 'a', data: ' é🔑' },
  { event: 'message', data: '' },
];

function read(pieces) {
  const parser = new EventStreamParser();
  return pieces.flatMap((piece) => [...parser.push(piece)]);
}

test('the events are the same wherever the stream is cut', () => {
  assert.deepEqual(read([STREAM]), EVENTS);
  for (let at = 0; at <= STREAM.length; at += 1) {
    assert.deepEqual(read([STREAM.subarray(0, at), STREAM.subarray(at)]), EVENTS, `cut at ${at}`);
    assert.deepEqual(read([STREAM.subarray(0, at), Buffer.alloc(0), STREAM.subarray(at)]), EVENTS, `nothing at ${at}`);
  }
  assert.deepEqual(read([...STREAM].map((byte) => Buffer.from([byte]))), EVENTS);
});

test('what would not fit into memory is refused before it is all there', () => {
  const line = (length) => Buffer.from(`data:${'x'.repeat(length - 5)}`);
  assert.deepEqual(read([line(LIMIT)]), []);
  assert.throws(() => read([line(LIMIT + 1)]), BrokenStream);
  assert.throws(() => read(Array.from({ length: LIMIT + 1 }, () => Buffer.from('x'))), BrokenStream, 'in pieces');
  assert.throws(() => read([Buffer.from('é'.repeat(LIMIT / 2 + 1))]), BrokenStream, 'bytes are counted');
  const short = Buffer.from(`data:${'x'.repeat(100)}\n`);
  assert.throws(() => read(Array.from({ length: LIMIT / 100 + 1 }, () => short)), BrokenStream, 'in many lines');
});

test('bytes that are no text are refused, not replaced', () => {
  assert.throws(() => read([Buffer.from([0x64, 0xff, 0x0a])]), BrokenStream);
});
