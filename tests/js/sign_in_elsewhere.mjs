// A web app signs a person in at the external provider itself, by npm `openid-client`; Rolemint has no part
// in it. What comes out is the ID token that the app's back end then exchanges.
//
//     node sign_in_elsewhere.mjs '{"issuer": …, "client_id": "web-app", "client_secret": …, "redirect_uri": …, "username": "dana"}'
import * as oidc from 'openid-client';
import { CookieJar, run, walk } from './support.mjs';

await run(async (options) => {
  const secret = options.client_secret;
  const config = await oidc.discovery(
    new URL(options.issuer),
    options.client_id,
    { id_token_signed_response_alg: options.id_token_alg ?? 'RS256' },
    secret ? oidc.ClientSecretBasic(secret) : oidc.None(),
    { execute: [oidc.allowInsecureRequests, oidc.enableNonRepudiationChecks], timeout: 15 },
  );
  const verifier = oidc.randomPKCECodeVerifier();
  const state = oidc.randomState();
  const nonce = oidc.randomNonce();
  const start = oidc.buildAuthorizationUrl(config, {
    redirect_uri: options.redirect_uri,
    scope: options.scope ?? 'openid email profile',
    code_challenge: await oidc.calculatePKCECodeChallenge(verifier),
    code_challenge_method: 'S256',
    state,
    nonce,
  });
  const target = new URL(options.redirect_uri);
  const arrival = await walk(start, {
    jar: new CookieJar(),
    username: options.username,
    arrived: (url) => url.origin === target.origin && url.pathname === target.pathname,
  });
  const tokens = await oidc.authorizationCodeGrant(config, arrival.url, {
    pkceCodeVerifier: verifier,
    expectedState: state,
    expectedNonce: nonce,
    idTokenExpected: true,
  });
  return { id_token: tokens.id_token, access_token: tokens.access_token, claims: tokens.claims() };
});
