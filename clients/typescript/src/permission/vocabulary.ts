// The resource types of an installation: their selectors, actions and roles. The issuer tells them.
import { asTexts, isObject, member, type JsonObject } from '../json.js';

export interface ResourceType {
  readonly name: string;
  /** From the widest level to the narrowest. */
  readonly selectors: readonly string[];
  /** Each action with the index of the selector that it acts on. */
  readonly actions: ReadonlyMap<string, number>;
  /** Each role of a permission with the actions that it lists. */
  readonly roles: ReadonlyMap<string, ReadonlySet<string>>;
}

/** A vocabulary that does not hold together, or that says what this version does not understand. */
export class InvalidVocabulary extends Error {
  override readonly name = 'InvalidVocabulary';
}

const KNOWN_MEMBERS = new Set(['selectors', 'keyed', 'kind', 'safe', 'staff', 'actions', 'roles']);

export class Vocabulary {
  readonly #types: ReadonlyMap<string, ResourceType>;

  private constructor(types: ReadonlyMap<string, ResourceType>) {
    this.#types = types;
  }

  /** From `GET /v1/resource-types`. */
  static parse(value: unknown): Vocabulary {
    const declared = isObject(value) ? member(value, 'types') : undefined;
    if (!isObject(declared)) throw new InvalidVocabulary('a vocabulary is an object with `types`');
    const types = new Map<string, ResourceType>();
    for (const [name, type] of Object.entries(declared)) {
      const parsed = parseType(name, type);
      // SECURITY: were one type's selectors part of another's, a permission that loses a selector on its
      // way would turn into a wider one of the other type, without an error.
      for (const other of types.values()) {
        if (isWithin(parsed.selectors, other.selectors) || isWithin(other.selectors, parsed.selectors)) {
          throw new InvalidVocabulary(`the selectors of \`${name}\` and \`${other.name}\` overlap wholly`);
        }
      }
      types.set(name, parsed);
    }
    return new Vocabulary(types);
  }

  find(name: string): ResourceType | undefined {
    return this.#types.get(name);
  }

  types(): IterableIterator<ResourceType> {
    return this.#types.values();
  }

  /** The one type whose selectors are exactly these. */
  withSelectors(keys: readonly string[]): ResourceType | undefined {
    const fits = (type: ResourceType) => type.selectors.length === keys.length && isWithin(type.selectors, keys);
    return [...this.#types.values()].find(fits);
  }
}

function isWithin(some: readonly string[], all: readonly string[]): boolean {
  return some.every((one) => all.includes(one));
}

function parseType(name: string, value: unknown): ResourceType {
  const wrong = (problem: string) => new InvalidVocabulary(`resource type \`${name}\`: ${problem}`);
  if (!isObject(value)) throw wrong('is not an object');
  // What a later server adds might narrow what a permission allows.
  const unknown = Object.keys(value).find((key) => !KNOWN_MEMBERS.has(key));
  if (unknown !== undefined) throw wrong(`\`${unknown}\` is not known to this version`);
  const selectors = asTexts(member(value, 'selectors'));
  if (!selectors || selectors.length === 0) throw wrong('has no selectors');
  if (new Set(selectors).size !== selectors.length) throw wrong('declares a selector twice');
  if (selectors.includes('type') || selectors.includes('role')) throw wrong('has a selector called `type` or `role`');
  const actions = new Map<string, number>();
  for (const [action, on] of Object.entries(objectOf(value, 'actions') ?? {})) {
    const level = selectors.findIndex((selector) => selector === on);
    if (level < 0) throw wrong(`action \`${action}\` acts on no selector`);
    actions.set(action, level);
  }
  const roles = new Map<string, ReadonlySet<string>>();
  for (const [role, listed] of Object.entries(objectOf(value, 'roles') ?? {})) {
    const names = asTexts(listed);
    if (!names?.every((action) => actions.has(action))) throw wrong(`role \`${role}\` lists what is no action`);
    roles.set(role, new Set(names));
  }
  if (actions.size === 0 || roles.size === 0) throw wrong('has no actions or no roles');
  return { name, selectors, actions, roles };
}

function objectOf(value: JsonObject, name: string): JsonObject | undefined {
  const found = member(value, name);
  return isObject(found) ? found : undefined;
}
