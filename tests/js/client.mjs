// An independent OpenID client (npm `openid-client`) against a running Rolemint.
//
//     node client.mjs '{"command": "sign-in", "issuer": "http://127.0.0.1:8080", "client_id": "web", …}'
//
// Every command takes issuer, client_id and, for a confidential client, client_secret and
// authentication ("client_secret_basic", the default, or "client_secret_post"), discovers the server
// first, and prints one JSON line.
//   sign-in     redirect_uri, username, scope, parameters (more for /authorize), then (what else to do, in
//               order: "userinfo", "refresh", "introspect", "revoke"; introspection as `backend`)
//   refresh     refresh_token, parameters           introspect  token
//   revoke      token, parameters                   userinfo    access_token, subject
//   exchange    parameters: subject_token, subject_token_type, …     client-credentials  parameters
// "discovery": "oauth2" takes the RFC 8414 document instead of the OpenID one.
// With "expect_error": true an OAuth error is an answer ({"error": {…}}), and success a failure.
import * as oidc from 'openid-client';
import { CookieJar, run, walk } from './support.mjs';

function authentication({ client_secret: secret, authentication: method }) {
  if (!secret) return oidc.None();
  return method === 'client_secret_post' ? oidc.ClientSecretPost(secret) : oidc.ClientSecretBasic(secret);
}

async function discover(options) {
  // Signatures are checked too, which the direct way from the token endpoint would let a client skip.
  const execute = [oidc.allowInsecureRequests, oidc.enableNonRepudiationChecks];
  const metadata = {};
  if (options.id_token_alg) metadata.id_token_signed_response_alg = options.id_token_alg;
  const config = await oidc.discovery(
    new URL(options.issuer),
    options.client_id,
    metadata,
    authentication(options),
    { execute, timeout: 15, algorithm: options.discovery ?? 'oidc' },
  );
  config.timeout = 15;
  return config;
}

async function signIn(options) {
  const config = await discover(options);
  const verifier = oidc.randomPKCECodeVerifier();
  const state = oidc.randomState();
  const nonce = oidc.randomNonce();
  const authorize = oidc.buildAuthorizationUrl(config, {
    redirect_uri: options.redirect_uri,
    scope: options.scope ?? 'openid profile email',
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
    ...options.parameters,
  });
  const jar = new CookieJar();
  const target = new URL(options.redirect_uri);
  const arrival = await walk(authorize, {
    jar,
    username: options.username,
    arrived: (url) => url.origin === target.origin && url.pathname === target.pathname,
  });
  const scopes = (options.scope ?? 'openid').split(' ');
  const tokens = await oidc.authorizationCodeGrant(config, arrival.url, {
    pkceCodeVerifier: verifier,
    expectedState: state,
    ...(scopes.includes('openid') ? { expectedNonce: nonce, idTokenExpected: true } : {}),
  });
  const result = {
    tokens: { ...tokens },
    id_token_claims: tokens.claims(),
    authorization_code: arrival.url.searchParams.get('code'),
    code_verifier: verifier,
    iss: arrival.url.searchParams.get('iss'),
    cookies: jar.values(),
    path: arrival.path,
    metadata: config.serverMetadata(),
  };
  let current = result.tokens;
  for (const step of options.then ?? []) {
    if (step === 'userinfo') {
      const subject = result.id_token_claims?.sub ?? oidc.skipSubjectCheck;
      result.userinfo = await oidc.fetchUserInfo(config, current.access_token, subject);
    } else if (step === 'refresh') {
      const refreshed = await oidc.refreshTokenGrant(config, current.refresh_token);
      current = { ...refreshed };
      (result.refreshed ??= []).push(current);
    } else if (step === 'introspect') {
      const backend = await discover({ issuer: options.issuer, ...(options.backend ?? options) });
      (result.introspected ??= []).push(await oidc.tokenIntrospection(backend, current.access_token));
    } else if (step === 'revoke') {
      await oidc.tokenRevocation(config, current.refresh_token ?? current.access_token);
      result.revoked = true;
    } else {
      throw new Error(`no step is called ${step}`);
    }
  }
  return result;
}

const commands = {
  'sign-in': signIn,
  refresh: async (options) => {
    const config = await discover(options);
    return { tokens: { ...await oidc.refreshTokenGrant(config, options.refresh_token, options.parameters) } };
  },
  introspect: async (options) => {
    const config = await discover(options);
    return { introspection: await oidc.tokenIntrospection(config, options.token, options.parameters) };
  },
  revoke: async (options) => {
    const config = await discover(options);
    await oidc.tokenRevocation(config, options.token, options.parameters);
    return { revoked: true };
  },
  userinfo: async (options) => {
    const config = await discover(options);
    const subject = options.subject ?? oidc.skipSubjectCheck;
    return { userinfo: await oidc.fetchUserInfo(config, options.access_token, subject) };
  },
  exchange: async (options) => {
    const config = await discover(options);
    const grant = 'urn:ietf:params:oauth:grant-type:token-exchange';
    return { tokens: { ...await oidc.genericGrantRequest(config, grant, options.parameters) } };
  },
  'client-credentials': async (options) => {
    const config = await discover(options);
    return { tokens: { ...await oidc.clientCredentialsGrant(config, options.parameters) } };
  },
};

await run(async (options) => {
  const command = commands[options.command];
  if (!command) throw new Error(`no command is called ${options.command}; there are ${Object.keys(commands).join(', ')}`);
  if (!options.expect_error) return command(options);
  let unexpected;
  try {
    unexpected = await command(options);
  } catch (error) {
    if (error.error || error.status) {
      const { error: code, error_description: description, status, page, path } = error;
      return { error: { error: code, error_description: description, status, page, path } };
    }
    throw error;
  }
  throw new Error(`an error was expected, and there was none: ${Object.keys(unexpected).join(', ')}`);
});
