// SPDX-License-Identifier: Apache-2.0
// javascript.mjs - what the JavaScript client does with a cluster: run by clients_test.sh, prints TAP without a plan.
import net from 'node:net';
import { PassThrough, Writable } from 'node:stream';
import * as k8s from '@kubernetes/client-node';

const config = new k8s.KubeConfig();
config.loadFromFile(process.argv[2]);
const core = config.makeApiClient(k8s.CoreV1Api);
const objects = k8s.KubernetesObjectApi.makeApiClient(config);
const namespace = 'default';

const pause = ms => new Promise(resolve => setTimeout(resolve, ms));
async function until(seconds, test) {
    for (const end = Date.now() + seconds * 1000; Date.now() < end; await pause(100)) {
        const result = await test();
        if (result) return result;
    }
    return false;
}

async function check(what, test) {
    try {
        const result = await Promise.race([test(), pause(30000).then(() => 'no answer in half a minute')]);
        console.log(`${result === true ? 'ok' : 'not ok'} - javascript: ${what}`);
        if (result !== true) console.log(`# result: ${JSON.stringify(result)}`);
    } catch (e) {
        console.log(`not ok - javascript: ${what}`);
        console.log(`# ${String(e.stack ?? e).replaceAll('\n', '\n# ')}`);
    }
}

class Text extends Writable {
    text = '';
    _write(chunk, encoding, done) {
        this.text += chunk;
        done();
    }
}

await check('version', async () => (await config.makeApiClient(k8s.VersionApi).getCode()).gitVersion.startsWith('v1.36'));

await check('configmaps: create, list, delete', async () => {
    await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'js', labels: { js: 'y' } }, data: { a: 'b' } } });
    const list = await core.listNamespacedConfigMap({ namespace, labelSelector: 'js=y' });
    if (list.items.length !== 1 || list.items[0].data.a !== 'b') return list;
    return (await core.deleteNamespacedConfigMap({ name: 'js', namespace })).status === 'Success';
});

await check('patches: JSON, merge, strategic', async () => {
    await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'js-patch' }, data: { a: '1' } } });
    const patch = (body, type) => core.patchNamespacedConfigMap(
        { name: 'js-patch', namespace, body }, k8s.setHeaderOptions('Content-Type', type));
    await patch([{ op: 'add', path: '/data/b', value: '2' }], k8s.PatchStrategy.JsonPatch);
    await patch({ data: { c: '3' } }, k8s.PatchStrategy.MergePatch);
    const last = await patch({ data: { a: null } }, k8s.PatchStrategy.StrategicMergePatch);
    return JSON.stringify(last.data) === '{"b":"2","c":"3"}' || last.data;
});

await check('an error of the API', async () => {
    try {
        await core.readNamespacedPod({ name: 'none', namespace });
        return false;
    } catch (e) {
        return e.code === 404 && JSON.parse(e.body).message === 'pods "none" not found';
    }
});

await check('a watch', async () => {
    const seen = [];
    const start = (await core.listNamespacedConfigMap({ namespace })).metadata.resourceVersion;
    const request = await new k8s.Watch(config).watch(`/api/v1/namespaces/${namespace}/configmaps`,
        { resourceVersion: start }, (type, object) => seen.push(`${type} ${object.metadata.name}`), () => {});
    await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'js-watch' } } });
    await core.deleteNamespacedConfigMap({ name: 'js-watch', namespace });
    const ok = await until(10, async () => seen.join() === 'ADDED js-watch,DELETED js-watch');
    request.abort();
    return ok || seen;
});

await check('an informer', async () => {
    const seen = [];
    const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`,
        () => core.listNamespacedConfigMap({ namespace, labelSelector: 'informer=y' }), 'informer=y');
    for (const event of ['add', 'update', 'delete'])
        informer.on(event, object => seen.push(`${event} ${object.metadata.name}`));
    await informer.start();
    await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'js-inform', labels: { informer: 'y' } } } });
    await objects.patch({ apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'js-inform', namespace }, data: { a: 'b' } });
    await core.deleteNamespacedConfigMap({ name: 'js-inform', namespace });
    const ok = await until(10, async () => seen.join() === 'add js-inform,update js-inform,delete js-inform');
    await informer.stop();
    return ok || seen;
});

await check('a pod runs', async () => {
    await core.createNamespacedPod({ namespace, body: {
        metadata: { name: 'js' },
        spec: { terminationGracePeriodSeconds: 1, containers: [{
            name: 'main', image: 'coracle.test/multi:1', imagePullPolicy: 'IfNotPresent' }] } } });
    return until(30, async () => (await core.readNamespacedPod({ name: 'js', namespace })).status.phase === 'Running');
});

await check('exec', async () => {
    const out = new Text(), err = new Text(), input = new PassThrough();
    const status = await new Promise((resolve, reject) => {
        new k8s.Exec(config).exec(namespace, 'js', 'main', ['sh', '-c', 'head -n 1; echo err >&2; exit 4'], out, err, input, false, resolve).catch(reject);
        input.write('through\n');
    });
    const code = status.details?.causes?.find(c => c.reason === 'ExitCode')?.message;
    return (out.text === 'through\n' && err.text === 'err\n' && code === '4') || [out.text, err.text, status];
});

await check('logs that are followed', async () => {
    await core.createNamespacedPod({ namespace, body: {
        metadata: { name: 'js-talk' },
        spec: { restartPolicy: 'Never', containers: [{ name: 'main', image: 'busybox', imagePullPolicy: 'IfNotPresent',
            command: ['sh', '-c', 'sleep 1; for i in 1 2 3; do echo line $i; sleep 0.3; done'] }] } } });
    await until(30, async () => (await core.readNamespacedPod({ name: 'js-talk', namespace })).status.phase !== 'Pending');
    const out = new Text();
    await new k8s.Log(config).log(namespace, 'js-talk', 'main', out, { follow: true });
    return (await until(15, async () => out.text === 'line 1\nline 2\nline 3\n')) || out.text;
});

await check('port-forward', async () => {
    const forward = new k8s.PortForward(config);
    const server = net.createServer(socket => forward.portForward(namespace, 'js', [8080], socket, null, socket));
    await new Promise(resolve => server.listen(0, '127.0.0.1', resolve));
    const answer = await new Promise((resolve, reject) => {
        const socket = net.connect(server.address().port, '127.0.0.1', () => socket.write('GET / HTTP/1.0\r\n\r\n'));
        socket.once('data', data => {
            resolve(String(data));
            socket.destroy();
        });
        socket.on('error', reject);
    });
    server.close();
    return /^HTTP\/1\.[01] 200/.test(answer) || answer;
});

await core.deleteNamespacedPod({ name: 'js', namespace, gracePeriodSeconds: 0 });
process.exit(0);
