// What the scripts here share: their argument, their way to fail, a cookie jar, and walking through redirects.
import { readFileSync } from 'node:fs';

export function log(...parts) {
  process.stderr.write(`${parts.join(' ')}\n`);
}

export function fail(message) {
  log(message);
  process.exit(1);
}

/** The script's options: JSON as its first argument, or `@file`. */
export function argument() {
  const text = process.argv[2] ?? fail('the first argument is JSON, or @file');
  try {
    return JSON.parse(text.startsWith('@') ? readFileSync(text.slice(1), 'utf8') : text);
  } catch (error) {
    return fail(`the first argument is not JSON: ${error.message}`);
  }
}

/** Runs `main` and prints what it answers as one JSON line; nothing here may hang. */
export async function run(main, limitSeconds = 60) {
  const options = argument();
  const deadline = setTimeout(() => fail(`not done after ${limitSeconds} s`), limitSeconds * 1000);
  try {
    const result = await main(options);
    process.stdout.write(`${JSON.stringify(result)}\n`, () => process.exit(0));
  } catch (error) {
    fail(explain(error));
  } finally {
    clearTimeout(deadline);
  }
}

export function explain(error) {
  const lines = [error.stack ?? String(error)];
  if (error.error) lines.push(`error: ${error.error} (${error.error_description ?? 'no description'})`);
  for (let cause = error.cause; cause; cause = cause.cause) {
    lines.push(`caused by: ${cause.stack ?? JSON.stringify(cause)}`);
  }
  return lines.join('\n');
}

/** Cookies by origin host; like a browser's, they ignore ports. */
export class CookieJar {
  #cookies = new Map();

  constructor(cookies = {}) {
    Object.entries(cookies).forEach(([name, value]) => this.#cookies.set(`/ ${name}`, { name, value, path: '/' }));
  }

  header(url) {
    const matching = [...this.#cookies.values()].filter(({ path }) => {
      const prefix = path.endsWith('/') ? path : `${path}/`;
      return url.pathname === path || url.pathname.startsWith(prefix);
    });
    return matching.map(({ name, value }) => `${name}=${value}`).join('; ');
  }

  store(response, url) {
    for (const line of response.headers.getSetCookie()) {
      const [pair, ...attributes] = line.split(';').map((part) => part.trim());
      const split = pair.indexOf('=');
      const cookie = { name: pair.slice(0, split), value: pair.slice(split + 1) };
      cookie.path = url.pathname.slice(0, url.pathname.lastIndexOf('/')) || '/';
      let gone = false;
      for (const attribute of attributes) {
        const [key, value = ''] = attribute.split('=');
        if (key.toLowerCase() === 'path') cookie.path = value;
        if (key.toLowerCase() === 'max-age') gone ||= Number(value) <= 0;
        if (key.toLowerCase() === 'expires') gone ||= Date.parse(value) <= Date.now();
      }
      const id = `${cookie.path} ${cookie.name}`;
      if (gone) this.#cookies.delete(id);
      else this.#cookies.set(id, cookie);
    }
  }

  values() {
    return [...this.#cookies.values()].map(({ value }) => value);
  }
}

/**
 * Walks from `start` as a browser would, through every redirect and form, until a URL for which
 * `arrived(url)` holds, which it answers without asking for it. A page with a `username` field is filled
 * in with `username`; any other page is the end of the walk and an error.
 */
export async function walk(start, { jar, username, arrived }) {
  let request = { url: new URL(start), method: 'GET', body: undefined };
  const path = [];
  for (let step = 0; step < 30; step += 1) {
    if (arrived(request.url)) return { url: request.url, path };
    path.push(`${request.method} ${request.url.origin}${request.url.pathname}`);
    const headers = { cookie: jar.header(request.url), accept: 'text/html' };
    if (request.method === 'POST') {
      headers['content-type'] = 'application/x-www-form-urlencoded';
      headers.origin = request.url.origin;
    }
    const response = await fetch(request.url, {
      method: request.method,
      headers,
      body: request.body,
      redirect: 'manual',
      signal: AbortSignal.timeout(15_000),
    });
    jar.store(response, request.url);
    const location = response.headers.get('location');
    if (response.status >= 300 && response.status < 400 && location) {
      await response.body?.cancel();
      const keepsMethod = response.status === 307 || response.status === 308;
      request = keepsMethod
        ? { ...request, url: new URL(location, request.url) }
        : { url: new URL(location, request.url), method: 'GET', body: undefined };
      continue;
    }
    const page = await response.text();
    const form = response.ok ? loginForm(page) : undefined;
    if (!form) {
      const error = new Error(`the way ended at ${request.method} ${request.url.origin}${request.url.pathname} `
        + `with ${response.status}: ${page.slice(0, 600)}`);
      error.status = response.status;
      error.page = page;
      error.path = path;
      throw error;
    }
    const fields = new URLSearchParams(form.hidden);
    fields.set('username', username);
    request = { url: new URL(form.action || request.url, request.url), method: 'POST', body: fields.toString() };
  }
  throw new Error(`no end after 30 steps:\n${path.join('\n')}`);
}

/** The form that has a `username` field: where it goes and what it carries along. */
function loginForm(page) {
  const unescape = (text) => text.replaceAll('&amp;', '&').replaceAll('&#x3D;', '=').replaceAll('&quot;', '"')
    .replaceAll('&#x27;', "'").replaceAll('&lt;', '<').replaceAll('&gt;', '>');
  const attribute = (tag, name) => {
    const found = tag.match(new RegExp(`\\s${name}\\s*=\\s*("([^"]*)"|'([^']*)'|([^\\s>]+))`, 'i'));
    return found && unescape(found[2] ?? found[3] ?? found[4]);
  };
  for (const [, tag, content] of page.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/gi)) {
    const fields = [...content.matchAll(/<(?:input|button|select)\b[^>]*>/gi)].map(([field]) => field);
    if (!fields.some((field) => attribute(field, 'name') === 'username')) continue;
    const hidden = fields
      .filter((field) => attribute(field, 'type')?.toLowerCase() === 'hidden' && attribute(field, 'name'))
      .map((field) => [attribute(field, 'name'), attribute(field, 'value') ?? '']);
    return { action: attribute(tag, 'action'), hidden };
  }
  return undefined;
}
