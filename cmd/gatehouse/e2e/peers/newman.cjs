// Runs a Postman collection with npm's newman and tells what came of it, as
// one line of JSON. Environment: COLLECTION, and VARIABLES as a JSON object.
const newman = require('newman');

const { COLLECTION, VARIABLES } = process.env;
const envVar = Object.entries(JSON.parse(VARIABLES)).map(([key, value]) => ({ key, value }));

newman.run({ collection: require(COLLECTION), envVar, reporters: [] }, (error, summary) => {
  if (error) throw error;
  const { requests, assertions } = summary.run.stats;
  const failures = summary.run.failures.map(f => `${f.source?.name}: ${f.error?.test ?? ''} ${f.error?.message}`);
  for (const e of summary.run.executions) {
    if (e.assertions?.some(a => a.error)) failures.push(`${e.request.method} ${e.request.url} answered ${e.response?.code} ${e.response?.text()}`);
  }
  console.log(JSON.stringify({ requests: requests.total, unanswered: requests.failed, assertions: assertions.total, failed: assertions.failed, failures }));
});
