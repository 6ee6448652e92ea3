// One selector of a permission: exactly one text, all texts with a prefix, or all.
import { asText, isObject } from '../json.js';

export type Pattern =
  | { readonly kind: 'exact'; readonly text: string }
  | { readonly kind: 'prefix'; readonly text: string }
  | { readonly kind: 'all' };

const MAX_BYTES = 1024;

/** Control characters, and those that hide from whoever reads them. */
const HIDDEN = /[\p{Cc}\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/u;

/** Whether a selector may hold this, and a resource be called so. */
export function isSelectorText(text: string): boolean {
  // Halves of surrogate pairs would make a prefix end in the middle of a character.
  return text !== '' && text.isWellFormed() && Buffer.byteLength(text) <= MAX_BYTES && !HIDDEN.test(text);
}

/** Undefined: no selector. */
export function parseSelector(value: unknown): Pattern | undefined {
  if (typeof value === 'string') return textual('exact', value);
  if (!isObject(value)) return undefined;
  const [only, ...others] = Object.entries(value);
  if (!only || others.length > 0) return undefined;
  const [word, content] = only;
  switch (word) {
    case 'key':
    case 'name':
      return textual('exact', asText(content));
    case 'keyPrefix':
    case 'namePrefix':
      return textual('prefix', asText(content));
    case 'all':
      return content === true ? { kind: 'all' } : undefined;
    default:
      return undefined;
  }
}

function textual(kind: 'exact' | 'prefix', text: string | undefined): Pattern | undefined {
  return text !== undefined && isSelectorText(text) ? { kind, text } : undefined;
}

export function matches(pattern: Pattern, text: string): boolean {
  switch (pattern.kind) {
    case 'exact':
      return pattern.text === text;
    case 'prefix':
      return text.startsWith(pattern.text);
    case 'all':
      return true;
  }
}
