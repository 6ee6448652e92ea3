// What came in as JSON, looked at strictly: a value is of the kind that is asked for, or it is undefined.

export type JsonObject = Record<string, unknown>;

export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
}

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** An own member: nothing that every object inherits, whatever it is called. */
export function member(object: JsonObject, name: string): unknown {
  return Object.hasOwn(object, name) ? object[name] : undefined;
}

export function asText(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

export function asName(value: unknown): string | undefined {
  return asText(value) || undefined;
}

export function asInteger(value: unknown): number | undefined {
  return Number.isSafeInteger(value) ? value as number : undefined;
}

/** A place in the revocation log. */
export function asPosition(value: unknown): number | undefined {
  const position = asInteger(value);
  return position !== undefined && position >= 0 ? position : undefined;
}

export function asTexts(value: unknown): string[] | undefined {
  return Array.isArray(value) && value.every((item) => typeof item === 'string') ? value as string[] : undefined;
}
