export { AccessToken, type AccessClaims } from './access_token.js';
export { IssuerProblem } from './issuer.js';
export { INSUFFICIENT_SCOPE, NotVerified, type NotVerifiedCode } from './not_verified.js';
export type { VerifierOptions } from './options.js';
export type { Resource } from './permission/resource.js';
export { bearerToken, Verifier, type OnStale } from './verifier.js';
