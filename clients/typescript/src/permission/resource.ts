// What a request wants to act on.
import { asText, isObject } from '../json.js';
import { isSelectorText } from './selector.js';
import type { ResourceType, Vocabulary } from './vocabulary.js';

/**
 * A text for each selector of a resource type, such as `{ cache: 'reports', item: 'acme:1' }`; those below the
 * level that the action acts on can be left out. `type` may name the type.
 */
export type Resource = Readonly<Record<string, string>>;

/** A resource that an action can act on. */
export interface Target {
  readonly type: ResourceType;
  readonly action: string;
  /** Index of the selector that the action acts on. */
  readonly level: number;
  /** One for each of the type's selectors. */
  readonly values: readonly (string | undefined)[];
}

/** Undefined: the action and these selectors belong to no single resource type, so nothing allows it. */
export function targetOf(action: string, resource: unknown, vocabulary: Vocabulary): Target | undefined {
  if (!isObject(resource)) return undefined;
  const { type: named, ...selectors } = resource;
  const fitting = [...vocabulary.types()].filter((type) => {
    const level = type.actions.get(action);
    return level !== undefined
      && (!Object.hasOwn(resource, 'type') || named === type.name)
      && type.selectors.slice(0, level + 1).every((selector) => Object.hasOwn(selectors, selector))
      && Object.keys(selectors).every((selector) => type.selectors.includes(selector));
  });
  const [type, another] = fitting;
  const level = type?.actions.get(action);
  if (!type || another || level === undefined) return undefined;
  const values = type.selectors.map((selector) => (
    Object.hasOwn(selectors, selector) ? asText(selectors[selector]) ?? '' : undefined
  ));
  const texts = values.every((text) => text === undefined || isSelectorText(text));
  return texts ? { type, action, level, values } : undefined;
}
