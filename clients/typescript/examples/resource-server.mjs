// A resource server that checks Rolemint's access tokens by itself: by signature, by claims, and by what it hears
// was revoked. It never asks about a token.
//
//     npm ci && npm run build && node examples/resource-server.mjs
//
// beside `rolemint dev`, or configured by the environment: ISSUER, AUDIENCE, CLIENT_ID, CLIENT_SECRET, READER (the
// name under which it reports what it has read), LISTEN, STALE_AFTER_MS, SNAPSHOT_EVERY_MS to ask for a signed copy
// of the revocation log so often instead of following it, and RESOURCE_TYPES, a file that holds them, to be used
// instead of asking.
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { bearerToken, INSUFFICIENT_SCOPE, NotVerified, Verifier } from '@rolemint/verifier';

const { env } = process;
const issuer = env.ISSUER ?? 'http://127.0.0.1:8080';
const verifier = await Verifier.start({
  issuer,
  audience: env.AUDIENCE ?? issuer,
  clientId: env.CLIENT_ID ?? 'demo-backend',
  clientSecret: env.CLIENT_SECRET ?? 'demo-backend-secret',
  reader: env.READER ?? 'example-1',
  ...(env.STALE_AFTER_MS && { staleAfterMs: Number(env.STALE_AFTER_MS) }),
  ...(env.SNAPSHOT_EVERY_MS && { follow: { everyMs: Number(env.SNAPSHOT_EVERY_MS) } }),
  ...(env.RESOURCE_TYPES && { vocabulary: JSON.parse(readFileSync(env.RESOURCE_TYPES, 'utf8')) }),
  onProblem: (problem) => console.error(`revocations: ${problem.message}`),
});

/** Somebody's data: nothing is served while a token may have been revoked without our knowing. */
async function showItem(request, [item]) {
  const token = await verifier.verify(bearerToken(request.headers.authorization));
  if (!token.allows('get', { cache: 'calendar-events', item })) {
    return { status: 403, headers: { 'www-authenticate': INSUFFICIENT_SCOPE } };
  }
  return { status: 200, body: { item, read_by: token.subject } };
}

/** What does little harm: served on, although Rolemint is away. */
async function showOpeningHours(request) {
  const token = await verifier.verify(bearerToken(request.headers.authorization), { onStale: 'allow' });
  return { status: 200, body: { open: 'always', stale: token.isStale } };
}

const routes = [
  [/^\/calendar\/([^/]+)$/, showItem],
  [/^\/opening-hours$/, showOpeningHours],
];

async function answer(request) {
  const path = request.url.split('?')[0];
  for (const [pattern, route] of routes) {
    const found = path.match(pattern);
    if (found && request.method === 'GET') return route(request, found.slice(1).map(decodeURIComponent));
  }
  return { status: 404 };
}

/** What a caller is told who was refused, or whose request makes no sense. */
function refuse(error) {
  if (error instanceof NotVerified) {
    const headers = error.wwwAuthenticate ? { 'www-authenticate': error.wwwAuthenticate } : { 'retry-after': '1' };
    return { status: error.status, headers, body: { error: error.code } };
  }
  if (error instanceof URIError) return { status: 400 };
  console.error(error);
  return { status: 500 };
}

const server = createServer(async (request, response) => {
  const { status, headers, body } = await answer(request).catch(refuse);
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers });
  response.end(body === undefined ? '' : JSON.stringify(body));
});

const [host, port] = (env.LISTEN ?? '127.0.0.1:8090').split(':');
server.listen(Number(port), host, () => {
  const address = `http://${host}:${server.address().port}`;
  console.log(`listening on ${address}`);
  console.log(`With an access token of ${issuer} in $ACCESS:`);
  console.log(`  curl -si -H "Authorization: Bearer $ACCESS" ${address}/calendar/acme:7`);
  console.log(`  curl -si -H "Authorization: Bearer $ACCESS" ${address}/calendar/globex:7`);
  console.log(`  curl -si -H "Authorization: Bearer $ACCESS" ${address}/opening-hours`);
  console.log('Then revoke it, and stop the server, and try again.');
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    verifier.close();
    server.close();
    server.closeAllConnections();
  });
}
