// One permission: a role on a resource type, and one selector for each of the type's keys.
import { asText, isObject, member } from '../json.js';
import type { Target } from './resource.js';
import { matches, parseSelector, type Pattern } from './selector.js';
import type { ResourceType, Vocabulary } from './vocabulary.js';

export interface Permission {
  readonly type: ResourceType;
  readonly actions: ReadonlySet<string>;
  /** In the order of the type's selectors, and as many. */
  readonly patterns: readonly Pattern[];
}

/**
 * An element of `authorization_details`. Undefined where it is no permission of this vocabulary. Nothing is
 * guessed: a permission has one type's selectors, all of them, and nothing else.
 */
export function parsePermission(value: unknown, vocabulary: Vocabulary): Permission | undefined {
  if (!isObject(value)) return undefined;
  const keys = Object.keys(value).filter((key) => key !== 'type' && key !== 'role');
  const type = vocabulary.withSelectors(keys);
  if (!type || (Object.hasOwn(value, 'type') && value['type'] !== type.name)) return undefined;
  const actions = type.roles.get(asText(member(value, 'role')) ?? '');
  const patterns = type.selectors.map((selector) => parseSelector(member(value, selector)));
  if (!actions || !patterns.every((pattern) => pattern !== undefined)) return undefined;
  return { type, actions, patterns };
}

export function allows({ type, actions, patterns }: Permission, target: Target): boolean {
  return type.name === target.type.name
    && actions.has(target.action)
    && patterns.every((pattern, index) => {
      // Whoever acts on a level acts on all below it, so everything below must be selected.
      if (index > target.level && pattern.kind !== 'all') return false;
      const value = target.values[index];
      return value === undefined ? index > target.level : matches(pattern, value);
    });
}
