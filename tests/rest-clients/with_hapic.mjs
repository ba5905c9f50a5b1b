// All webhook calls of `@hapic/harbor`.
import assert from 'node:assert/strict';
import { HarborClient } from '@hapic/harbor';

const { API, TOKEN } = process.env;
const client = new HarborClient({ connectionOptions: { host: `${API}/api/v2.0`, user: 'admin', password: TOKEN } });
const hooks = client.projectWebhookPolicy;
const project = { projectIdOrName: 'library', isProjectName: true };

const target = { type: 'http', address: 'http://127.0.0.1:9/hook', skip_cert_verify: false };
const data = { name: 'hapic', enabled: true, event_types: ['PUSH_ARTIFACT'], targets: [target] };
const { id } = await hooks.create({ ...project, data });
assert.ok(id > 0);

const policy = await hooks.getOne({ ...project, id });
assert.equal(policy.name, 'hapic');
assert.deepEqual(policy.event_types, ['PUSH_ARTIFACT']);
const many = await hooks.getMany({ ...project, query: { q: { name: 'hapic' } } });
assert.deepEqual(many.data.map((one) => one.id), [id]);
assert.equal((await hooks.findOne({ ...project, name: 'hapic' })).id, id);
assert.equal(await hooks.findOne({ ...project, name: 'nobody' }), undefined);

await hooks.update({ ...project, id, data: { ...policy, description: 'changed' } });
assert.equal((await hooks.getOne({ ...project, id })).description, 'changed');

await hooks.delete({ ...project, id });
await hooks.create({ ...project, data });
await hooks.deleteByName({ ...project, name: 'hapic' });
assert.equal(await hooks.findOne({ ...project, name: 'hapic' }), undefined);
console.log('@hapic/harbor: as with Harbor');
