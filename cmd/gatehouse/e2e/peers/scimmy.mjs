// The SCIM 2.0 server that is npm's scimmy, with its resources in memory.
// Environment: PORT, TOKEN. For the test itself: POST /_fail/3/429 has the next
// three requests fail so, GET /_log tells what arrived, GET /_users and /_groups
// what is there.
import crypto from 'node:crypto';
import express from 'express';
import SCIMMY from 'scimmy';
import SCIMMYRouters from 'scimmy-routers';

const { PORT, TOKEN } = process.env;
const users = new Map();
const groups = new Map();
const log = [];
let failures = 0;
let status = 503;

const found = (all, id) => {
  const one = all.get(id);
  if (!one) throw new SCIMMY.Types.Error(404, null, `there is no ${id}`);
  return one;
};
// keep has resources of a type in memory, each with a name of its own.
const keep = (type, all, name) => SCIMMY.Resources.declare(type)
  .ingress((resource, instance) => {
    const id = resource.id ?? crypto.randomUUID();
    const folded = r => String(r[name]).toLowerCase();
    for (const [other, one] of all) {
      if (other !== id && folded(one) === folded(instance)) throw new SCIMMY.Types.Error(409, 'uniqueness', `${name} is taken`);
    }
    if (resource.id) found(all, resource.id);
    const now = new Date().toISOString();
    const made = all.get(id)?.meta.created ?? now;
    const one = { ...JSON.parse(JSON.stringify(instance)), id, meta: { created: made, lastModified: now } };
    all.set(id, one);
    return one;
  })
  .egress(resource => (resource.id ? found(all, resource.id) : resource.filter?.match([...all.values()]) ?? [...all.values()]))
  .degress(resource => { found(all, resource.id); all.delete(resource.id); });
keep(SCIMMY.Resources.User, users, 'userName');
keep(SCIMMY.Resources.Group, groups, 'displayName');
SCIMMY.Config.set({ patch: true, filter: { supported: true, maxResults: 200 } });

const app = express();
app.get('/_log', (req, res) => res.json(log));
app.get('/_users', (req, res) => res.json([...users.values()]));
app.get('/_groups', (req, res) => res.json([...groups.values()]));
app.post('/_fail/:times/:status', (req, res) => {
  failures = Number(req.params.times);
  status = Number(req.params.status);
  res.end();
});
app.use((req, res, next) => {
  const failing = failures > 0;
  log.push({ Method: req.method, URL: req.originalUrl, At: Date.now(), Status: failing ? status : 0 });
  if (!failing) return next();
  failures -= 1;
  if (status === 429) res.set('Retry-After', '2');
  return res.status(status).end();
});
// scimmy wants numbers for the place and size of a page, scimmy-routers hands on
// text, and what is no number is passed over: without this every page is the first.
app.use('/scim/v2', (req, res, next) => {
  const query = { ...req.query };
  for (const name of ['startIndex', 'count']) if (name in query) query[name] = Number(query[name]);
  Object.defineProperty(req, 'query', { value: query });
  next();
});
app.use('/scim/v2', new SCIMMYRouters({
  type: 'bearer',
  handler: req => {
    if (req.header('Authorization') !== `Bearer ${TOKEN}`) throw new Error('not the token');
    return 'gatehouse';
  },
}));
app.listen(Number(PORT), '127.0.0.1', () => console.log('ready'));
