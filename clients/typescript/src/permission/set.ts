// The permissions of one token.
import { allows, parsePermission, type Permission } from './permission.js';
import { targetOf } from './resource.js';
import type { Vocabulary } from './vocabulary.js';

/** The most permissions that one claim may hold. */
const MAX_PERMISSIONS = 256;

export class PermissionSet {
  readonly #vocabulary: Vocabulary;
  readonly #permissions: readonly Permission[];

  private constructor(vocabulary: Vocabulary, permissions: readonly Permission[]) {
    this.#vocabulary = vocabulary;
    this.#permissions = permissions;
  }

  /**
   * The claim `authorization_details`. One permission that cannot be read under this vocabulary makes it allow
   * nothing: it was written under another one, and what the others meant there is not known.
   */
  static parse(details: unknown, vocabulary: Vocabulary): PermissionSet {
    const list: readonly unknown[] = Array.isArray(details) && details.length <= MAX_PERMISSIONS ? details : [];
    const permissions = list.map((value) => parsePermission(value, vocabulary));
    const readable = permissions.every((permission) => permission !== undefined);
    return new PermissionSet(vocabulary, readable ? permissions : []);
  }

  /** Whether one of the permissions lets this action act on this resource. */
  allows(action: string, resource: unknown): boolean {
    const target = targetOf(action, resource, this.#vocabulary);
    return target !== undefined && this.#permissions.some((permission) => allows(permission, target));
  }
}
