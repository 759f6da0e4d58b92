// The npm oidc-provider on a free loopback port. Reads {host, clients, accounts, cognito} from stdin; says {"port": …} when it listens.
// With cognito, its endpoints stand where Cognito has them and an ID token carries what an account says besides.
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { Provider } from 'oidc-provider';

const { host, clients, accounts, cognito } = JSON.parse(await text(process.stdin));
const server = createServer();
server.listen(0, '127.0.0.1', () => {
  const { port } = server.address();
  const provider = new Provider(`http://${host}:${port}`, {
    clients,
    scopes: ['openid', 'offline_access', 'groups'],
    claims: { openid: ['sub', ...(cognito ? Object.values(accounts).flatMap(Object.keys) : [])], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'], groups: ['groups'] },
    ...(cognito && { routes: { authorization: '/oauth2/authorize', token: '/oauth2/token', revocation: '/oauth2/revoke', jwks: '/.well-known/jwks.json', end_session: '/logout' } }),
    conformIdTokenClaims: false,
    findAccount: (_, id) => accounts[id] && { accountId: id, claims: () => ({ sub: id, ...accounts[id] }) },
    pkce: { required: () => false },
    // Its guard against requests into special-use networks would refuse every receiver on loopback.
    fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
    features: { backchannelLogout: { enabled: true }, revocation: { enabled: true } },
  });
  server.on('request', provider.callback());
  console.log(JSON.stringify({ port }));
});
