// A resource server that checks Rolemint's access tokens by itself, and refuses a revoked one within a second.
//
//     npm ci && npm run build
//     ISSUER=http://127.0.0.1:8080 AUDIENCE=http://127.0.0.1:8080 \
//       CLIENT_ID=demo-backend CLIENT_SECRET=demo-backend-secret node examples/resource-server.mjs
//
// PORT (9000), READER (the name under which it reports what it has read), STALE_AFTER_MS (5000) and
// FOLLOW_EVERY_MS (ask for a signed copy of the log so often, instead of following it) can be set too.
import { createServer } from 'node:http';
import { bearerToken, INSUFFICIENT_SCOPE, NotVerified, Verifier } from '@rolemint/verifier';

const { env } = process;
const verifier = await Verifier.start({
  issuer: env.ISSUER,
  audience: env.AUDIENCE,
  clientId: env.CLIENT_ID,
  clientSecret: env.CLIENT_SECRET,
  ...(env.READER && { reader: env.READER }),
  ...(env.STALE_AFTER_MS && { staleAfterMs: Number(env.STALE_AFTER_MS) }),
  ...(env.FOLLOW_EVERY_MS && { follow: { everyMs: Number(env.FOLLOW_EVERY_MS) } }),
  onProblem: (problem) => console.error(`revocations: ${problem.message}`),
});

/** Strict: while it is not known what was revoked, nobody reads an item. */
async function readItem(request, [cache, item]) {
  const token = await verifier.verify(bearerToken(request.headers.authorization));
  if (!token.allows('get', { type: 'cache', cache, item })) {
    return { status: 403, headers: { 'www-authenticate': INSUFFICIENT_SCOPE } };
  }
  return { status: 200, body: { cache, item, value: `what ${token.tenant} keeps there` } };
}

/** Lax: a name may be shown although it is not known whether its token was revoked just now. */
async function whoAmI(request) {
  const token = await verifier.verify(bearerToken(request.headers.authorization), { onStale: 'allow' });
  return { status: 200, body: { subject: token.subject, tenant: token.tenant, roles: token.claims.roles } };
}

const routes = [
  [/^\/caches\/([^/]+)\/items\/([^/]+)$/, readItem],
  [/^\/whoami$/, whoAmI],
  [/^\/healthz$/, async () => ({ status: 200, body: { position: verifier.position, stale: verifier.isStale } })],
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
function refusal(error) {
  if (error instanceof NotVerified) {
    const headers = error.wwwAuthenticate ? { 'www-authenticate': error.wwwAuthenticate } : { 'retry-after': '1' };
    return { status: error.status, headers, body: { error: error.code } };
  }
  if (error instanceof URIError) return { status: 400 };
  console.error(error);
  return { status: 500 };
}

const server = createServer(async (request, response) => {
  const { status, headers, body } = await answer(request).catch(refusal);
  response.writeHead(status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...headers });
  response.end(body === undefined ? '' : JSON.stringify(body));
});

server.listen(Number(env.PORT ?? 9000), '127.0.0.1', () => {
  const base = `http://127.0.0.1:${server.address().port}`;
  console.log(`listening on ${base}`);
  console.log(`try: curl -H "Authorization: Bearer $TOKEN" ${base}/caches/calendar-events/items/acme:7`);
});

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.once(signal, () => {
    verifier.close();
    server.close();
    server.closeAllConnections();
  });
}
