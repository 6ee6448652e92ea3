// A real external OpenID provider (npm `oidc-provider`) as a process of its own.
//
//     node provider.mjs '{"clients": […], "accounts": {"dana": {"email": "…"}}}'
//
// Options, all optional but `clients` and `accounts`:
//   port       0 = a free one                       clients   client metadata, as oidc-provider takes it
//   alg        RS256, PS256, ES256 or EdDSA         accounts  {sub: {claim: value}}
//   jwks       private keys; generated without      claims    further claim names that scope `openid` gives
//   id_token_ttl, code_ttl  seconds                 pkce      "required" (default) or "optional"
//
// When it listens it prints one line, {"issuer": …, "port": …}. It logs to stderr and ends on SIGTERM.
//
// Under /_control, for the tests alone (POST, JSON):
//   rotate-keys  {"keep_old": true}   new signing key, with or without the old ones still published
//   sign         {"claims": {…}, "header": {…}, "key": "provider"|"unknown"}   a JWT signed by hand
//   tamper       {"claims": {…}, "header": {…}, "alg": …, "key": …, "replace": "…"}   changes every later
//                ID token on its way out (null removes a claim or header field); {} ends it
//   requests     → how often each endpoint was asked since the start
//   person       {"sub": …, "claims": {…}}   changes what is known of somebody (null removes a claim)
//   revoke       {"sub": …}   takes back all that somebody has granted, with its refresh tokens
//   hold         {"paths": ["/token"]}   requests there wait until it is called again
//   away         {"paths": ["/token"], "status": 503}   requests there get this status until it is called again
//   refresh-tokens  {"give": false}   whether later sign-ins get one
import * as http from 'node:http';
import { Buffer } from 'node:buffer';
import * as crypto from 'node:crypto';
import * as jose from 'jose';
import { Provider } from 'oidc-provider';
import { argument, fail, log } from './support.mjs';

const options = argument();
if (!Array.isArray(options.clients) || typeof options.accounts !== 'object') {
  fail('provider.mjs needs "clients" (a list) and "accounts" (an object)');
}
const alg = options.alg ?? 'RS256';
const accounts = options.accounts;

async function newKey() {
  const { privateKey } = await jose.generateKeyPair(alg, { extractable: true, modulusLength: 2048 });
  const jwk = await jose.exportJWK(privateKey);
  return { ...jwk, alg, use: 'sig', kid: crypto.randomBytes(8).toString('hex') };
}

const server = http.createServer();
await new Promise((resolve, reject) => {
  server.once('error', reject);
  server.listen(options.port ?? 0, '127.0.0.1', resolve);
}).catch((error) => fail(`cannot listen: ${error.message}`));
const { port } = server.address();
const issuer = `http://127.0.0.1:${port}`;

let keys = options.jwks?.keys ?? [await newKey()];
const strangerKey = await newKey();
let tamper = {};
const requests = {};
const grants = new Map();
let held = { paths: [] };
let away = { paths: [] };
let giveRefreshTokens = true;

const claimNames = new Set(['name', 'email', 'email_verified', 'roles', 'groups', ...(options.claims ?? [])]);
for (const claims of Object.values(accounts)) {
  Object.keys(claims).forEach((name) => claimNames.add(name));
}

async function sign(claims, header, key) {
  const jwk = key === 'unknown' ? strangerKey : keys[0];
  const protectedHeader = without({ typ: 'JWT', alg: jwk.alg ?? alg, kid: jwk.kid, ...header });
  if (protectedHeader.alg === 'none') {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
    return `${part(protectedHeader)}.${part(claims)}.`;
  }
  if (protectedHeader.alg.startsWith('HS')) {
    // The classic confusion: the public key, as everybody can read it, taken for a shared secret.
    const pem = crypto.createPublicKey({ key: jwk, format: 'jwk' }).export({ type: 'spki', format: 'pem' });
    return new jose.SignJWT(claims).setProtectedHeader(protectedHeader).sign(Buffer.from(pem));
  }
  const family = { RS: 'RSA', PS: 'RSA', ES: 'EC', Ed: 'OKP' }[protectedHeader.alg.slice(0, 2)];
  let signing = jwk;
  if (family !== jwk.kty) {
    const pair = await jose.generateKeyPair(protectedHeader.alg, { extractable: true });
    signing = await jose.exportJWK(pair.privateKey);
  }
  const imported = await jose.importJWK({ ...signing, alg: protectedHeader.alg }, protectedHeader.alg);
  return new jose.SignJWT(claims).setProtectedHeader(protectedHeader).sign(imported);
}

function without(object) {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null));
}

async function tampered(idToken) {
  if (tamper.replace) return tamper.replace;
  const claims = without({ ...jose.decodeJwt(idToken), ...tamper.claims });
  const header = { ...jose.decodeProtectedHeader(idToken), ...tamper.header };
  if (tamper.key === 'unknown' && tamper.header?.kid === undefined) delete header.kid;
  if (tamper.alg) header.alg = tamper.alg;
  return sign(claims, header, tamper.key);
}

function build() {
  const provider = new Provider(issuer, {
    clients: options.clients.map((client) => ({ id_token_signed_response_alg: alg, ...client })),
    jwks: { keys },
    enabledJWA: { idTokenSigningAlgValues: ['RS256', 'PS256', 'ES256', 'EdDSA'] },
    claims: {
      openid: ['sub', ...claimNames],
      email: ['email', 'email_verified'],
      profile: ['name'],
    },
    scopes: ['openid', 'offline_access', 'email', 'profile'],
    conformIdTokenClaims: false,
    responseTypes: ['code'],
    pkce: { required: () => options.pkce !== 'optional' },
    features: {
      devInteractions: { enabled: false },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true, allowedPolicy: () => true },
      userinfo: { enabled: true },
      rpInitiatedLogout: { enabled: true },
      backchannelLogout: { enabled: true },
    },
    // As many providers do it: whoever may have refresh tokens has one, and a new one each time.
    issueRefreshToken: (_ctx, client) => giveRefreshTokens && client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: true,
    // Rolemint is on this machine, where the library would call nobody.
    fetch: (url, { dispatcher: _dispatcher, signal: _signal, ...request }) => (
      fetch(url, { ...request, signal: AbortSignal.timeout(30_000) })
    ),
    ttl: {
      AccessToken: 600,
      AuthorizationCode: options.code_ttl ?? 60,
      IdToken: options.id_token_ttl ?? 86_400,
      RefreshToken: 3600,
      Interaction: 600,
      Session: 3600,
      Grant: 3600,
    },
    cookies: { keys: [cookieKey] },
    interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_ctx, id) => {
      if (!Object.hasOwn(accounts, id)) return undefined;
      return { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) };
    },
    renderError: (ctx, out) => {
      ctx.type = 'json';
      ctx.body = out;
    },
  });
  provider.use(async (ctx, next) => {
    await next();
    if (ctx.path === '/token' && ctx.body?.id_token && Object.keys(tamper).length > 0) {
      ctx.body = { ...ctx.body, id_token: await tampered(ctx.body.id_token) };
    }
  });
  provider.on('backchannel.error', (_ctx, error) => log('provider: nobody hears of a logout:', error.message));
  provider.on('server_error', (_ctx, error) => log('provider:', error.stack));
  provider.on('grant.error', (_ctx, error) => log('provider: token refused:', error.message, error.error_detail ?? ''));
  provider.on('authorization.error', (_ctx, error) => log('provider: sign-in refused:', error.message));
  return provider;
}

const cookieKey = crypto.randomBytes(16).toString('hex');
let provider = build();
let answer = provider.callback();

async function interaction(request, response) {
  const details = await provider.interactionDetails(request, response);
  const { prompt, params } = details;
  if (prompt.name === 'login' && request.method !== 'POST') {
    const hint = String(params.login_hint ?? '').replace(/[^\w@.+-]/g, '');
    response.setHeader('content-type', 'text/html; charset=utf-8');
    response.end(`<!doctype html><html lang="en"><title>Sign in</title><h1>Company sign-in</h1>
<form method="post" action="${request.url}">
<label>User name <input name="username" value="${hint}" autofocus></label>
<button type="submit">Continue</button>
</form></html>`);
    return;
  }
  if (prompt.name === 'login') {
    const accountId = (await form(request)).get('username') ?? '';
    if (!Object.hasOwn(accounts, accountId)) {
      const result = { error: 'access_denied', error_description: 'no such account' };
      await provider.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
      return;
    }
    await provider.interactionFinished(request, response, { login: { accountId } }, { mergeWithLastSubmission: false });
    return;
  }
  // consent: everything that was asked for
  const grant = details.grantId
    ? await provider.Grant.find(details.grantId)
    : new provider.Grant({ accountId: details.session.accountId, clientId: params.client_id });
  grant.addOIDCScope(params.scope);
  grant.addOIDCClaims([...claimNames]);
  const grantId = await grant.save();
  const { accountId } = details.session;
  grants.set(accountId, (grants.get(accountId) ?? new Set()).add(grantId));
  await provider.interactionFinished(request, response, { consent: { grantId } }, { mergeWithLastSubmission: true });
}

async function read(request) {
  const chunks = [];
  let size = 0;
  for await (const chunk of request) {
    size += chunk.length;
    if (size > 100_000) throw new Error('body too large');
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString();
}

async function form(request) {
  return new URLSearchParams(await read(request));
}

async function control(name, request) {
  const body = JSON.parse((await read(request)) || '{}');
  switch (name) {
    case 'rotate-keys': {
      const fresh = await newKey();
      keys = body.keep_old === false ? [fresh] : [fresh, ...keys];
      provider = build();
      answer = provider.callback();
      return { kid: fresh.kid };
    }
    case 'sign':
      return { jwt: await sign(body.claims ?? {}, body.header ?? {}, body.key) };
    case 'tamper':
      tamper = body;
      return {};
    case 'requests':
      return requests;
    case 'person':
      accounts[body.sub] = without({ ...accounts[body.sub], ...body.claims });
      return {};
    case 'revoke':
      for (const grantId of grants.get(body.sub) ?? []) {
        await provider.RefreshToken.revokeByGrantId(grantId);
        await provider.AccessToken.revokeByGrantId(grantId);
        await (await provider.Grant.find(grantId))?.destroy();
      }
      return {};
    case 'hold': {
      held.release?.();
      held = { paths: body.paths ?? [] };
      held.released = new Promise((resolve) => { held.release = resolve; });
      return {};
    }
    case 'away':
      away = { paths: body.paths ?? [], status: body.status ?? 503 };
      return {};
    case 'refresh-tokens':
      giveRefreshTokens = body.give;
      return {};
    default:
      return undefined;
  }
}

server.on('request', async (request, response) => {
  const { pathname } = new URL(request.url, issuer);
  const endpoint = pathname.replace(/^(\/(?:interaction|auth))\/.*/, '$1/:uid');
  requests[endpoint] = (requests[endpoint] ?? 0) + 1;
  try {
    if (pathname.startsWith('/_control/')) {
      const result = await control(pathname.slice('/_control/'.length), request);
      response.statusCode = result === undefined ? 404 : 200;
      response.setHeader('content-type', 'application/json');
      response.end(JSON.stringify(result ?? {}));
    } else if (pathname.startsWith('/interaction/')) {
      await interaction(request, response);
    } else if (away.paths.includes(pathname)) {
      response.statusCode = away.status;
      response.end();
    } else {
      if (held.paths.includes(pathname)) await held.released;
      answer(request, response);
    }
  } catch (error) {
    log('provider:', error.stack);
    response.statusCode = 500;
    response.end('failed; see the log');
  }
});

process.on('SIGTERM', () => process.exit(0));
process.stdout.write(`${JSON.stringify({ issuer, port })}\n`);
