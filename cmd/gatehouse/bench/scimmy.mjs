// The SCIM server that is npm's scimmy-routers, with users and groups in
// memory, to be measured beside Gatehouse. Environment: TOKEN, USERS, and MEMBERS,
// the sizes of groups with commas between.
// Prints its address when it is ready, and ends when its input does.
import crypto from 'node:crypto';
import express from 'express';
import SCIMMY from 'scimmy';
import SCIMMYRouters from 'scimmy-routers';

const { TOKEN, USERS, MEMBERS } = process.env;
const all = { User: new Map(), Group: new Map() };
const names = new Map(); // of users, in lower case

const found = (kind, id) => {
  const one = all[kind].get(id);
  if (!one) throw new SCIMMY.Types.Error(404, null, `there is no ${id}`);
  return one;
};
for (const kind of ['User', 'Group']) {
  SCIMMY.Resources.declare(SCIMMY.Resources[kind])
    .ingress((resource, instance) => {
      const id = resource.id ?? crypto.randomUUID();
      const name = String(instance.userName).toLowerCase();
      if (kind === 'User' && (names.get(name) ?? id) !== id) throw new SCIMMY.Types.Error(409, 'uniqueness', 'userName is taken');
      if (resource.id) found(kind, id);
      const now = new Date().toISOString();
      const made = all[kind].get(id)?.meta.created ?? now;
      const one = { ...JSON.parse(JSON.stringify(instance)), id, meta: { created: made, lastModified: now } };
      all[kind].set(id, one);
      if (kind === 'User') names.set(name, id);
      return one;
    })
    .egress(resource => {
      if (resource.id) return found(kind, resource.id);
      const list = [...all[kind].values()];
      return resource.filter ? resource.filter.match(list) : list;
    })
    .degress(resource => { found(kind, resource.id); all[kind].delete(resource.id); });
}
SCIMMY.Resources.User.extend(SCIMMY.Schemas.EnterpriseUser, false);
SCIMMY.Config.set({ patch: true, filter: { supported: true, maxResults: 200 } });

const meta = { created: new Date().toISOString(), lastModified: new Date().toISOString() };
for (let i = 0; i < Number(USERS); i++) {
  const mail = `u${i}@bench.example`;
  all.User.set(`id-${i}`, {
    id: `id-${i}`, meta, userName: mail, externalId: `e${i}`, active: true, displayName: `Person ${i}`, name: { givenName: 'Person', familyName: `Number ${i}` },
    emails: [{ value: mail, type: 'work', primary: true }], 'urn:ietf:params:scim:schemas:extension:enterprise:2.0:User': { department: 'IT' },
  });
  names.set(mail, `id-${i}`);
}
for (const n of MEMBERS.split(',').filter(Boolean).map(Number)) {
  all.Group.set(`group-${n}`, { id: `group-${n}`, meta, displayName: `group-${n}`, members: Array.from({ length: n }, (_, i) => ({ value: `id-${i}`, type: 'User' })) });
}

const app = express();
app.use('/scim/v2', new SCIMMYRouters({
  type: 'bearer',
  handler: req => {
    if (req.header('Authorization') !== `Bearer ${TOKEN}`) throw new Error('not the token');
    return 'bench';
  },
}));
const server = app.listen(0, '127.0.0.1', () => console.log(`127.0.0.1:${server.address().port}`));
process.stdin.on('end', () => process.exit(0)).resume();
