// The official JavaScript client against a cluster: every way it has of reading,
// watching, writing and streaming. Prints a line for each; exits 1 at the first
// that fails. The kubeconfig is in KUBECONFIG.
import assert from 'node:assert/strict';
import net from 'node:net';
import stream from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const config = new k8s.KubeConfig();
config.loadFromDefault();
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);
const authn = config.makeApiClient(k8s.AuthenticationV1Api);
const authz = config.makeApiClient(k8s.AuthorizationV1Api);
const namespace = 'javascript';

const limit_ms = 60_000;
const within = (what, promise) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing after ${limit_ms} ms`)), limit_ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

async function step(name, f) {
  const began = performance.now();
  try {
    await within(name, f());
  } catch (e) {
    console.error(`FAIL ${name}: ${e.stack ?? e}\n${e.body ?? ''}`);
    process.exit(1);
  }
  console.log(`ok ${name} ${Math.round(performance.now() - began)} ms`);
}

// statusOf is the code and the Status of a call that must fail.
async function statusOf(promise) {
  try {
    await promise;
  } catch (e) {
    return { code: e.code, status: typeof e.body === 'string' ? JSON.parse(e.body) : e.body };
  }
  assert.fail('the call succeeded');
}

const sink = () => {
  const chunks = [];
  const s = new stream.Writable({
    write(chunk, _, done) {
      chunks.push(chunk);
      s.emit('grew');
      done();
    },
  });
  s.text = () => Buffer.concat(chunks).toString();
  s.until = (pattern) =>
    new Promise((resolve) => {
      const look = () => pattern.test(s.text()) && (s.off('grew', look), resolve());
      s.on('grew', look);
      look();
    });
  return s;
};

await step('discovery and versions', async () => {
  const version = await config.makeApiClient(k8s.VersionApi).getCode();
  assert.match(version.gitVersion, /^v1\.36\./);
  const groups = await config.makeApiClient(k8s.ApisApi).getAPIVersions();
  assert.ok(groups.groups.some((g) => g.name === 'apps' && g.preferredVersion.version === 'v1'));
  const resources = await apps.getAPIResources();
  assert.ok(resources.resources.some((r) => r.name === 'deployments/scale' && r.kind === 'Scale'));
});

await step('create', async () => {
  await core.createNamespace({ body: { metadata: { name: namespace } } });
  const made = await core.createNamespacedConfigMap({
    namespace,
    body: { metadata: { generateName: 'one-', labels: { set: 'a' } }, data: { k: 'v' }, binaryData: { b: 'AAE=' } },
  });
  assert.match(made.metadata.name, /^one-[a-z0-9]{5}$/);
  assert.ok(made.metadata.creationTimestamp instanceof Date);
  for (let i = 0; i < 7; i++) {
    await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: `many-${i}`, labels: { set: 'b' } }, data: { n: String(i) } } });
  }
});

await step('list: selectors, pages, errors', async () => {
  const labelled = await core.listNamespacedConfigMap({ namespace, labelSelector: 'set in (b)' });
  assert.equal(labelled.items.length, 7);
  const named = await core.listNamespacedConfigMap({ namespace, fieldSelector: 'metadata.name=many-3' });
  assert.deepEqual(named.items.map((c) => c.data.n), ['3']);
  const names = [];
  let _continue;
  do {
    const page = await core.listNamespacedConfigMap({ namespace, labelSelector: 'set=b', limit: 3, _continue });
    assert.ok(page.items.length <= 3);
    names.push(...page.items.map((c) => c.metadata.name));
    _continue = page.metadata._continue;
  } while (_continue);
  assert.deepEqual(names, [0, 1, 2, 3, 4, 5, 6].map((i) => `many-${i}`));
  const gone = await statusOf(core.readNamespacedConfigMap({ namespace, name: 'none' }));
  assert.equal(gone.code, 404);
  assert.deepEqual([gone.status.kind, gone.status.reason, gone.status.message], ['Status', 'NotFound', 'configmaps "none" not found']);
  const taken = await statusOf(core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'many-1' } } }));
  assert.deepEqual([taken.code, taken.status.reason], [409, 'AlreadyExists']);
  const wrong = await statusOf(core.createNamespacedService({ namespace, body: { metadata: { name: 'Bad' }, spec: { ports: [{ port: 0 }] } } }));
  assert.equal(wrong.code, 422);
  assert.ok(wrong.status.details.causes.some((c) => c.field === 'spec.ports[0].port'));
});

await step('watch', async () => {
  const seen = [];
  const list = await core.listNamespacedConfigMap({ namespace });
  const watch = new k8s.Watch(config);
  let enough;
  const done = new Promise((resolve) => (enough = resolve));
  const controller = await watch.watch(
    `/api/v1/namespaces/${namespace}/configmaps`,
    { resourceVersion: list.metadata.resourceVersion, allowWatchBookmarks: true, labelSelector: 'set=watched' },
    (type, object) => {
      if (type !== 'BOOKMARK') seen.push(`${type} ${object.metadata.name}`);
      if (seen.length === 4) enough();
    },
    (err) => err && err.name !== 'AbortError' && enough(),
  );
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'w', labels: { set: 'watched' } } } });
  await core.replaceNamespacedConfigMap({ namespace, name: 'w', body: { metadata: { name: 'w', labels: { set: 'watched' } }, data: { x: '1' } } });
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'w2', labels: { set: 'watched' } } } });
  await core.deleteNamespacedConfigMap({ namespace, name: 'w' });
  await done;
  controller.abort();
  assert.deepEqual(seen, ['ADDED w', 'MODIFIED w', 'ADDED w2', 'DELETED w']);
});

await step('a watch that is refused', async () => {
  const watch = new k8s.Watch(config);
  const err = await new Promise((resolve) => {
    watch.watch(`/api/v1/namespaces/${namespace}/configmaps`, { resourceVersion: 'nonsense' }, () => {}, resolve).catch(resolve);
  });
  assert.equal(err?.statusCode, 400, String(err));
});

await step('informer', async () => {
  const path = `/api/v1/namespaces/${namespace}/configmaps`;
  const informer = k8s.makeInformer(config, path, () => core.listNamespacedConfigMap({ namespace, labelSelector: 'set=informed' }), 'set=informed');
  const events = [];
  let wake = () => {};
  for (const e of ['add', 'update', 'delete']) {
    informer.on(e, (o) => {
      events.push(`${e} ${o.metadata.name}`);
      wake();
    });
  }
  const failures = [];
  informer.on('error', (e) => failures.push(e));
  const upTo = async (n) => {
    while (events.length < n) await new Promise((resolve) => (wake = resolve));
  };
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'i0', labels: { set: 'informed' } } } });
  await informer.start();
  await upTo(1);
  await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'i1', labels: { set: 'informed' } } } });
  await upTo(2);
  await core.replaceNamespacedConfigMap({ namespace, name: 'i1', body: { metadata: { name: 'i1', labels: { set: 'informed' } }, data: { a: 'b' } } });
  await upTo(3);
  assert.equal(informer.get('i1', namespace).data.a, 'b');
  await core.deleteCollectionNamespacedConfigMap({ namespace, labelSelector: 'set=informed' });
  await upTo(5);
  assert.deepEqual(failures, []); // ending is one, to this client
  await informer.stop();
  assert.deepEqual(events.slice(0, 3), ['add i0', 'add i1', 'update i1']);
  assert.deepEqual(events.slice(3).sort(), ['delete i0', 'delete i1']);
});

const container = (name) => ({ name, image: 'busybox:latest', imagePullPolicy: 'IfNotPresent' });

await step('patch: JSON, merge, strategic, apply', async () => {
  const of = (type) => k8s.setHeaderOptions('Content-Type', type);
  const labels = { app: 'patched' };
  await apps.createNamespacedDeployment({
    namespace,
    body: { metadata: { name: 'patched' }, spec: { replicas: 0, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers: [container('a'), container('b')] } } } },
  });
  const patch = (body, type, more = {}) => apps.patchNamespacedDeployment({ namespace, name: 'patched', body, ...more }, of(type));
  let d = await patch([{ op: 'test', path: '/spec/replicas', value: 0 }, { op: 'add', path: '/metadata/labels', value: { way: 'json' } }], k8s.PatchStrategy.JsonPatch);
  assert.equal(d.metadata.labels.way, 'json');
  const refused = await statusOf(patch([{ op: 'test', path: '/spec/replicas', value: 7 }], k8s.PatchStrategy.JsonPatch));
  assert.equal(refused.code, 422);
  d = await patch({ metadata: { labels: { way: null, other: 'merge' } } }, k8s.PatchStrategy.MergePatch);
  assert.deepEqual(d.metadata.labels, { other: 'merge' });
  d = await patch({ spec: { template: { spec: { containers: [{ name: 'b', env: [{ name: 'X', value: '1' }] }] } } } }, k8s.PatchStrategy.StrategicMergePatch);
  assert.deepEqual(d.spec.template.spec.containers.map((c) => [c.name, c.env?.[0].name]).sort(), [['a', undefined], ['b', 'X']]);
  const applied = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'patched', annotations: { by: 'apply' } }, spec: { replicas: 0 } };
  d = await patch(applied, k8s.PatchStrategy.ServerSideApply, { fieldManager: 'js', force: true });
  assert.equal(d.metadata.annotations.by, 'apply');
  assert.ok(d.metadata.managedFields.some((f) => f.manager === 'js' && f.operation === 'Apply'));
  const conflict = await statusOf(patch({ ...applied, spec: { replicas: 3 } }, k8s.PatchStrategy.ServerSideApply, { fieldManager: 'other' }));
  assert.equal(conflict.code, 409);
  assert.match(conflict.status.message, /^Apply failed with 2 conflicts: conflicts with "js":\n- \.spec\.replicas\nconflicts with "[^"]+" using apps\/v1:\n- \.spec\.replicas$/);
  const scale = await apps.patchNamespacedDeploymentScale({ namespace, name: 'patched', body: { spec: { replicas: 0 } } }, of(k8s.PatchStrategy.MergePatch));
  assert.equal(scale.kind, 'Scale');
  const dry = await core.createNamespacedConfigMap({ namespace, dryRun: 'All', body: { metadata: { name: 'dry' } } });
  assert.ok(dry.metadata.uid);
  assert.equal((await statusOf(core.readNamespacedConfigMap({ namespace, name: 'dry' }))).code, 404);
});

await step('objects of any kind', async () => {
  const objects = k8s.KubernetesObjectApi.makeApiClient(config);
  const spec = { apiVersion: 'networking.k8s.io/v1', kind: 'Ingress', metadata: { name: 'any', namespace }, spec: { defaultBackend: { service: { name: 's', port: { number: 80 } } } } };
  await objects.create(spec);
  const read = await objects.read(spec);
  assert.equal(read.spec.defaultBackend.service.port.number, 80);
  await objects.patch({ ...spec, metadata: { ...spec.metadata, labels: { a: 'b' } } }, undefined, undefined, 'any', undefined, k8s.PatchStrategy.MergePatch);
  const list = await objects.list('networking.k8s.io/v1', 'Ingress', namespace);
  assert.deepEqual(list.items.map((i) => i.metadata.labels), [{ a: 'b' }]);
  await objects.delete(spec);
});

await step('identity', async () => {
  const me = await authn.createSelfSubjectReview({ body: {} });
  assert.ok(me.status.userInfo.groups.includes('system:masters'));
  const may = await authz.createSelfSubjectAccessReview({ body: { spec: { resourceAttributes: { verb: 'delete', resource: 'nodes' } } } });
  assert.equal(may.status.allowed, true);
  await core.createNamespacedServiceAccount({ namespace, body: { metadata: { name: 'robot' } } });
  const token = await core.createNamespacedServiceAccountToken({ namespace, name: 'robot', body: { spec: { audiences: [], expirationSeconds: 600 } } });
  const robot = new k8s.KubeConfig();
  robot.loadFromOptions({
    clusters: [config.getCurrentCluster()], users: [{ name: 'robot', token: token.status.token }],
    contexts: [{ name: 'robot', cluster: config.getCurrentCluster().name, user: 'robot' }], currentContext: 'robot',
  });
  const forbidden = await statusOf(robot.makeApiClient(k8s.CoreV1Api).listNode());
  assert.equal(forbidden.code, 403);
  assert.match(forbidden.status.message, /User "system:serviceaccount:javascript:robot" cannot list resource "nodes" in API group "" at the cluster scope/);
});

const pod = 'talker';

await step('a pod that runs', async () => {
  await core.createNamespacedPod({
    namespace,
    body: {
      metadata: { name: pod },
      spec: {
        terminationGracePeriodSeconds: 0,
        containers: [{ ...container('main'), command: ['sh', '-c', 'echo started; mkdir /www; echo served > /www/index.html; exec httpd -f -v -p 8080 -h /www'] }],
      },
    },
  });
  const watch = new k8s.Watch(config);
  await new Promise((resolve, reject) => {
    watch
      .watch(`/api/v1/namespaces/${namespace}/pods`, { fieldSelector: `metadata.name=${pod}` }, (_, p) => p.status?.phase === 'Running' && resolve(), (err) => err && err.name !== 'AbortError' && reject(err))
      .catch(reject);
  });
});

await step('log', async () => {
  const out = sink();
  const controller = await new k8s.Log(config).log(namespace, pod, 'main', out, { follow: true, timestamps: true, tailLines: 5 });
  await out.until(/\d{4}-\d\d-\d\dT.* started\n/);
  controller.abort();
  assert.equal(await core.readNamespacedPodLog({ namespace, name: pod, tailLines: 1 }), 'started\n');
});

await step('exec', async () => {
  const exec = new k8s.Exec(config);
  const run = async (command, input) => {
    const out = sink();
    const err = sink();
    const status = await new Promise((resolve, reject) => {
      exec.exec(namespace, pod, 'main', command, out, err, input ? stream.Readable.from([input]) : null, false, resolve).catch(reject);
    });
    return { status, out: out.text(), err: err.text() };
  };
  const good = await run(['sh', '-c', 'echo out; echo err >&2']);
  assert.deepEqual([good.status.status, good.out, good.err], ['Success', 'out\n', 'err\n']);
  const bad = await run(['sh', '-c', 'exit 3']);
  assert.equal(bad.status.status, 'Failure');
  assert.equal(bad.status.reason, 'NonZeroExitCode');
  assert.deepEqual(bad.status.details.causes, [{ reason: 'ExitCode', message: '3' }]);
  const fed = await run(['head', '-n', '1'], 'a line\n');
  assert.equal(fed.out, 'a line\n');
});

await step('copy from a pod', async () => {
  const out = sink();
  const status = await new Promise((resolve, reject) => {
    new k8s.Exec(config).exec(namespace, pod, 'main', ['tar', 'cf', '-', '-C', '/www', 'index.html'], out, null, null, false, resolve).catch(reject);
  });
  assert.equal(status.status, 'Success');
  assert.match(out.text(), /index\.html/);
});

await step('attach', async () => {
  const out = sink();
  const socket = await new k8s.Attach(config).attach(namespace, pod, 'main', out, null, null, false);
  await new Promise((resolve, reject) => {
    new k8s.Exec(config).exec(namespace, pod, 'main', ['sh', '-c', 'echo attached > /proc/1/fd/1'], sink(), null, null, false, resolve).catch(reject);
  });
  await out.until(/attached/);
  socket.close();
});

await step('port-forward', async () => {
  const forward = new k8s.PortForward(config);
  const server = net.createServer((socket) => forward.portForward(namespace, pod, [8080], socket, null, socket));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const answer = await new Promise((resolve, reject) => {
    let text = '';
    const client = net.connect(server.address().port, '127.0.0.1', () => client.write('GET /index.html HTTP/1.0\r\n\r\n'));
    client.on('data', (d) => {
      text += d;
      if (/served/.test(text)) resolve(text);
    });
    client.on('error', reject);
    client.on('close', () => resolve(text));
  });
  assert.match(answer, /^HTTP\/1\.[01] 200 OK[^]*served/);
  server.close();
});

await step('delete', async () => {
  const deleted = await core.deleteNamespacedPod({ namespace, name: pod, gracePeriodSeconds: 0 });
  assert.equal(deleted.metadata.name, pod);
  const status = await core.deleteNamespacedConfigMap({ namespace, name: 'many-1' });
  assert.equal(status.status, 'Success');
  await core.deleteNamespace({ name: namespace });
});
process.exit(0);
