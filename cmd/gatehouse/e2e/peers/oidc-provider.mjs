// The OpenID provider that is npm's oidc-provider, with two people and its own
// pages for signing in: any password will do. Everything that scopes ask for is
// in the userinfo answer alone.
// Environment: PORT, CALLBACK.
import { Provider } from 'oidc-provider';

const port = Number(process.env.PORT);
const people = {
  ada: { email: 'ada@peer.example', email_verified: true, name: 'Ada Lovelace', preferred_username: 'ada', groups: ['staff', 'math'] },
  bob: { email: 'bob@peer.example', email_verified: true, name: 'Bob Sample', preferred_username: 'bob', groups: [] },
};

const provider = new Provider(`http://localhost:${port}`, {
  clients: [{
    client_id: 'gatehouse',
    client_secret: 'a-secret-for-tests-alone',
    redirect_uris: [process.env.CALLBACK],
    response_types: ['code'],
    grant_types: ['authorization_code'],
    token_endpoint_auth_method: 'client_secret_basic',
    ...(process.env.BACKCHANNEL && {
      post_logout_redirect_uris: [process.env.SIGNED_OUT], backchannel_logout_uri: process.env.BACKCHANNEL, backchannel_logout_session_required: true,
    }),
  }],
  scopes: ['openid', 'email', 'profile', 'groups'],
  claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'], groups: ['groups'] },
  pkce: { required: () => true },
  features: { devInteractions: { enabled: true }, rpInitiatedLogout: { enabled: true }, backchannelLogout: { enabled: true } },
  fetch: (url, { dispatcher, ...options }) => globalThis.fetch(url, options), // it would not call loopback
  cookies: { keys: ['for-tests-alone'] },
  ttl: { AccessToken: 300, AuthorizationCode: 60, IdToken: 300, Interaction: 600, Grant: 600, Session: 600 },
  findAccount: (ctx, id) => (people[id] && { accountId: id, claims: () => ({ sub: id, ...people[id] }) }),
});
for (const failed of ['backchannel.error', 'end_session.error']) provider.on(failed, (ctx, err) => console.error(failed, err));
provider.on('server_error', (ctx, err) => console.error('server_error', err));
provider.listen(port, '127.0.0.1', () => console.log('ready'));
