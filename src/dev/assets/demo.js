// The sample web app: a public client, authorization code with PKCE (RFC 7636), no library.
// It needs nothing of the server but its OAuth endpoints, so it can be read as an example.

const ISSUER = location.origin;
const CLIENT_ID = 'demo-web';
const REDIRECT_URI = `${location.origin}/demo/callback`;
const SCOPE = 'openid profile email';
const CACHE = 'calendar-events';

// ---- storage: this tab only, gone when it is closed ----

const store = {
  read: (name) => JSON.parse(sessionStorage.getItem(`demo.${name}`) ?? 'null'),
  write: (name, value) => sessionStorage.setItem(`demo.${name}`, JSON.stringify(value)),
  remove: (name) => sessionStorage.removeItem(`demo.${name}`),
};

// ---- small things ----

const base64url = (bytes) => btoa(String.fromCharCode(...bytes)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
const random = () => base64url(crypto.getRandomValues(new Uint8Array(32)));
const sha256 = async (text) => base64url(new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(text))));
const now = () => Date.now() / 1000;

/** The claims of a JWT that came straight from the token endpoint: read, not verified. */
function claimsOf(jwt) {
  const part = jwt.split('.')[1].replaceAll('-', '+').replaceAll('_', '/');
  return JSON.parse(new TextDecoder().decode(Uint8Array.from(atob(part), (c) => c.charCodeAt(0))));
}

class Refused extends Error {
  constructor(why, detail = '') {
    super(why);
    this.detail = detail;
  }
}

async function post(path, form) {
  const response = await fetch(path, { method: 'POST', body: new URLSearchParams(form), cache: 'no-store' });
  const body = response.headers.get('content-type')?.includes('json') ? await response.json() : {};
  if (!response.ok) throw new Refused(explain(body.error), `${body.error ?? response.status} ${body.error_description ?? ''}`.trim());
  return body;
}

function explain(error) {
  switch (error) {
    case 'access_denied': return 'The server gave no token. Usually that is because none of your roles opens anything here: ask your administrator for a role.';
    case 'invalid_grant': return 'The server no longer accepts this: it is used up, expired or revoked. Sign in again.';
    case 'login_required': return 'The provider wants you to sign in again.';
    case 'temporarily_unavailable':
    case 'server_error': return 'The server cannot answer at the moment. Try again shortly.';
    default: return 'The server refused the request.';
  }
}

// ---- the protocol ----

async function signIn() {
  const attempt = { state: random(), nonce: random(), verifier: random() };
  store.write('attempt', attempt);
  const query = new URLSearchParams({
    response_type: 'code',
    client_id: CLIENT_ID,
    redirect_uri: REDIRECT_URI,
    scope: SCOPE,
    state: attempt.state,
    nonce: attempt.nonce,
    code_challenge: await sha256(attempt.verifier),
    code_challenge_method: 'S256',
  });
  location.assign(`/oauth2/authorize?${query}`);
}

async function finishSignIn(answer) {
  const attempt = store.read('attempt');
  store.remove('attempt');
  // The code must not stay in the address bar or in the history.
  history.replaceState(null, '', '/demo');
  if (!attempt || answer.get('state') !== attempt.state) {
    throw new Refused('This answer does not belong to a sign-in that was begun in this tab.', 'state does not match');
  }
  if (answer.get('iss') !== ISSUER) throw new Refused('This answer comes from another server.', 'iss does not match');
  if (answer.has('error')) {
    throw new Refused(explain(answer.get('error')), `${answer.get('error')}: ${answer.get('error_description') ?? ''}`.replace(/: $/, ''));
  }
  const tokens = await post('/oauth2/token', {
    grant_type: 'authorization_code',
    code: answer.get('code') ?? '',
    redirect_uri: REDIRECT_URI,
    client_id: CLIENT_ID,
    code_verifier: attempt.verifier,
  });
  // OpenID Connect Core §3.1.3.7. The signature may be left out here: the ID token came from the
  // token endpoint itself and not through the browser's address bar.
  const person = claimsOf(tokens.id_token);
  const audience = [person.aud].flat();
  if (person.iss !== ISSUER || !audience.includes(CLIENT_ID) || person.nonce !== attempt.nonce || person.exp <= now()) {
    throw new Refused('The ID token is not the one that was asked for.');
  }
  return { person: { name: person.name, email: person.email }, ...kept(tokens) };
}

/** What this app keeps of an answer of the token endpoint. */
function kept(tokens) {
  return { access: tokens.access_token, refresh: tokens.refresh_token, lifetime: tokens.expires_in, permissions: tokens.authorization_details };
}

async function refresh(session) {
  const tokens = await post('/oauth2/token', { grant_type: 'refresh_token', refresh_token: session.refresh, client_id: CLIENT_ID });
  // Every refresh hands out the next refresh token; the one that was used is superseded.
  Object.assign(session, kept(tokens));
  store.write('session', session);
}

async function check(token) {
  const response = await fetch('/demo/check', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ token }) });
  if (!response.ok) throw new Refused('The token could not be checked.', `status ${response.status}`);
  return response.json();
}

async function readItem(token, key) {
  const response = await fetch(`/demo/items/${CACHE}/${encodeURIComponent(key)}`, { headers: { authorization: `Bearer ${token}` }, cache: 'no-store' });
  return response.json();
}

// ---- permissions as sentences ----

const VERBS = {
  cache: { readonly: 'Read', writeonly: 'Write', readwrite: 'Read and write', maintain: 'Flush and delete' },
  topic: { subscribeonly: 'Subscribe to', publishonly: 'Publish to', publishsubscribe: 'Publish and subscribe to' },
  function: { invoke: 'Call' },
  rolemint: { view: 'View', manage: 'Manage' },
};

/** A selector: exactly one text, all texts with a prefix, or all. */
function selector(value) {
  if (typeof value === 'string') return { kind: 'exact', text: value };
  const [name, text] = Object.entries(value ?? {})[0] ?? [];
  if (name === 'all' && text === true) return { kind: 'all' };
  if (name?.endsWith('Prefix')) return { kind: 'prefix', text };
  return { kind: 'exact', text: String(text) };
}

const code = (text) => Object.assign(document.createElement('code'), { textContent: text });

/** Pieces of a sentence, for example ["items of ", <code>, …]. */
function named(one, many, value) {
  const { kind, text } = selector(value);
  if (kind === 'all') return [`every ${one}`];
  if (kind === 'prefix') return [`${many} whose name begins with `, code(text)];
  return [`${one} `, code(text)];
}

function sentence(permission) {
  const { type, role } = permission;
  const verb = VERBS[type]?.[role];
  const place = () => [' of ', ...named('cache', 'caches', permission.cache)];
  if (verb && type === 'cache') {
    const { kind, text } = selector(permission.item);
    if (kind === 'all') return [`${verb} every item`, ...place()];
    if (kind === 'prefix') return [`${verb} items`, ...place(), ' whose key begins with ', code(text)];
    return [`${verb} item `, code(text), ...place()];
  }
  if (verb && type === 'topic') return [`${verb} `, ...named('topic', 'topics', permission.topic), ...place()];
  if (verb && type === 'function') return [`${verb} `, ...named('function', 'functions', permission.func), ...place()];
  if (verb && type === 'rolemint') {
    const area = selector(permission.area);
    const what = area.kind === 'all' ? ['everything'] : [area.text];
    return [`${verb} `, ...what, ' of ', ...named('tenant', 'tenants', permission.tenant)];
  }
  const rest = Object.entries(permission).filter(([name]) => name !== 'type' && name !== 'role');
  return [`${role} on ${type}: `, code(rest.map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(', '))];
}

// ---- pages ----

const view = document.getElementById('view');

function show(name, texts = {}) {
  view.replaceChildren(document.getElementById(name).content.cloneNode(true));
  for (const [key, value] of Object.entries(texts)) write(key, value);
  for (const button of view.querySelectorAll('[data-testid="sign-in"]')) on(button, signIn);
}

function write(key, value) {
  for (const element of view.querySelectorAll(`[data-text="${key}"]`)) {
    if (element.textContent !== value) element.textContent = value;
  }
}

const item = (id) => view.querySelector(`[data-testid="${id}"]`);

/** One click at a time; what goes wrong is said and not swallowed. */
function on(button, act) {
  button.addEventListener('click', async () => {
    button.disabled = true;
    try {
      await act();
    } catch (error) {
      say(item(`${button.dataset.testid}-result`), error.message, false);
    } finally {
      button.disabled = button.dataset.over === 'true';
    }
  });
}

/** Text with `code` in back quotes. */
function say(element, text, good = true) {
  if (!element) return;
  element.replaceChildren(...text.split('`').map((part, i) => (i % 2 ? code(part) : part)));
  element.classList.toggle('bad', !good);
  element.hidden = false;
}

function refused(error) {
  show('refused', { why: error.message, detail: error.detail ? `The server said: ${error.detail}` : '' });
}

const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString();

function showTokens({ person, access, lifetime, permissions }) {
  // An application need not look into its access token; this one does, to show what is in it.
  const claims = claimsOf(access);
  write('name', person.name ?? '');
  write('email', person.email ?? '');
  write('tenant', claims.tenant);
  write('claims', JSON.stringify(claims, null, 2));
  const fill = (name, elements) => view.querySelector(`[data-list="${name}"]`).replaceChildren(...elements);
  fill('roles', claims.roles.map((role) => Object.assign(document.createElement('span'), { className: 'tag', textContent: role })));
  fill('permissions', permissions.map((permission) => {
    const line = document.createElement('li');
    line.append(...sentence(permission));
    return line;
  }));
  view.querySelector('[data-part="progress"]').max = lifetime;
  write('until', `at ${clock(claims.exp)}`);
  return claims;
}

function signedIn(session) {
  show('signed-in');
  let claims = showTokens(session);
  const tick = () => {
    const left = Math.max(0, Math.floor(claims.exp - now()));
    write('seconds', String(left));
    const progress = view.querySelector('[data-part="progress"]');
    if (!progress) return clearInterval(timer);
    progress.value = left;
    view.querySelector('[data-part="clock"]').classList.toggle('over', left === 0);
    return undefined;
  };
  const timer = setInterval(tick, 250);
  tick();

  const token = () => session.access;
  const other = claims.tenant === 'globex' ? 'acme:7' : 'globex:7';
  write('own-key', `Item ${claims.tenant}:7 of ${CACHE}.`);
  write('other-key', `Item ${other} of ${CACHE}.`);

  on(item('refresh'), async () => {
    await refresh(session);
    claims = showTokens(session);
    tick();
    say(item('refresh-result'), 'A new token, with the permissions as they are now.');
  });
  on(item('check'), async () => {
    const answer = await check(token());
    if (answer.active) say(item('check-result'), `Active: the server vouches for this token until ${clock(answer.exp)}.`);
    else say(item('check-result'), 'Inactive: the server no longer accepts this token.', false);
  });
  const reading = (id, key) => on(item(id), async () => {
    const answer = await readItem(token(), key);
    if (answer.allowed) say(item(`${id}-result`), `Allowed: \`${answer.key}\` holds “${answer.value}”.`);
    else say(item(`${id}-result`), `Refused: ${answer.why}${/\.$/.test(answer.why) ? '' : '.'}`, false);
  });
  reading('own-item', `${claims.tenant}:7`);
  reading('other-tenant', other);
  on(item('sign-out'), async () => {
    await post('/oauth2/revoke', { token: session.refresh, token_type_hint: 'refresh_token', client_id: CLIENT_ID });
    store.remove('session');
    clearInterval(timer);
    write('until', 'ended before its time');
    view.querySelector('[data-part="clock"]').classList.add('over');
    say(item('sign-out-result'), 'Signed out: the session has ended, and every token of it.');
    item('sign-in').hidden = false;
    for (const id of ['refresh', 'sign-out']) {
      item(id).dataset.over = 'true';
      item(id).disabled = true;
    }
  });
}

async function start() {
  // The redirect URI is registered for the address, not for the name.
  if (location.hostname === 'localhost') {
    location.hostname = '127.0.0.1';
    return;
  }
  if (location.pathname === '/demo/callback') {
    show('waiting');
    const session = await finishSignIn(new URLSearchParams(location.search));
    store.write('session', session);
    signedIn(session);
    return;
  }
  const session = store.read('session');
  if (session) signedIn(session);
  else show('welcome');
}

start().catch((error) => {
  store.remove('session');
  refused(error);
});
