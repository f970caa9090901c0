// SPDX-License-Identifier: Apache-2.0
// What npm's etcd3 is told; the same lines are expected of every server.
//
//     javascript.mjs HOST:PORT      etcd3 in node_modules beside it
import { Etcd3 } from 'etcd3';

const client = new Etcd3({ hosts: process.argv[2], defaultCallOptions: () => ({ deadline: Date.now() + 10000 }) });
const show = (what, ...values) => console.log(what, ...values.map(v => JSON.stringify(v, (key, value) =>
    ['cluster_id', 'member_id', 'raft_term'].includes(key) ? 'OWN' : value?.type === 'Buffer' ? Buffer.from(value).toString() : value)));
const fails = async (what, call) => {
    try {
        show(what, 'no error', await call());
    } catch (e) {
        show(what, e.constructor.name, e.message);
    }
};

async function readingAndWriting() {
    show('get nothing', await client.get('a').string());
    show('put', (await client.put('a').value('1').exec()).header.revision, await client.put('a').value('2').getPrevious());
    for (let n = 0; n < 5; n++)
        await client.put(`p/${n}`).value(9 - n);
    show('get', await client.get('a').exec(), await client.get('a').number());
    show('all', await client.getAll().prefix('p/').numbers(), await client.getAll().prefix('p/').keys());
    show('sorted', await client.getAll().prefix('p/').sort('Value', 'Descend').limit(2).exec());
    show('sorted by key', await client.getAll().prefix('p/').sort('Key', 'Descend').limit(2).keys());
    show('count', await client.getAll().count(), await client.getAll().inRange({ start: 'p/1', end: 'p/3' }).strings());
    show('touch', (await client.put('a').touch()).header.revision, await client.get('a').string());
    show('delete', await client.delete().key('p/0').exec(), await client.delete().prefix('p/').getPrevious());
    await fails('empty key', () => client.put('').value('x').exec());
    await fails('touch nothing', () => client.put('none').touch());
}

async function transactions() {
    show('then', await client.if('a', 'Value', '==', '2').and('a', 'Version', '>', 1).and('none', 'Create', '==', 0)
        .then(client.put('a').value('t'), client.get('a')).else(client.put('a').value('f')).commit());
    show('else', await client.if('a', 'Mod', '<', 1).then(client.put('a').value('x')).else(client.get('a'), client.delete().key('none'))
        .commit());
    await fails('twice', () => client.if('a', 'Value', '!=', '').then(client.put('b').value(1), client.put('b').value(2)).commit());
    show('stm', await client.stm().transact(async tx => {
        const value = await tx.get('a').string();
        await tx.put('stm').value(value + '!');
        return value;
    }), await client.get('stm').string());
}

async function leases() {
    const lease = client.lease(60);
    await lease.put('leased').value('x').exec();
    const alive = await lease.keepaliveOnce();
    show('lease', alive.TTL, (await client.leaseClient.leaseTimeToLive({ ID: await lease.grant(), keys: true })).keys.map(String));
    await lease.revoke();
    show('revoked', await client.get('leased').string());
    await fails('revoked again', () => client.leaseClient.leaseRevoke({ ID: '404' }));
    await fails('unknown', () => client.put('leased').value('x').lease('404').exec());
    await fails('too long', () => client.leaseClient.leaseGrant({ ID: '0', TTL: '9000000001' }));
    show('lock', await client.lock('mutex').ttl(20).do(async () => {
        await fails('locked', () => client.lock('mutex').do(() => 'twice'));
        return 'held';
    }));
    const election = client.election('leader', 20);
    const campaign = election.campaign('me');
    await new Promise((resolve, reject) => campaign.once('elected', resolve).once('error', reject));
    show('elected', await election.leader());
    await campaign.resign();
    show('nobody', await election.leader());
}

async function watching() {
    const events = [];
    const watcher = await client.watch().prefix('w/').withPreviousKV().create();
    const done = new Promise(resolve => watcher.on('data', r => {
        for (const e of r.events)
            events.push([e.type, String(e.kv.key), String(e.kv.value), e.kv.version, e.kv.mod_revision, String(e.prev_kv?.value)]);
        if (events.length >= 3)
            resolve();
    }));
    await client.put('w/1').value('a');
    await client.put('other').value('a');
    await client.put('w/1').value('b');
    await client.delete().key('w/1').exec();
    await done;
    show('watch', events);
    await watcher.cancel();
    const old = await client.watch().key('w/1').startRevision('1').create();
    show('from the past', await new Promise(resolve => old.once('put', kv => resolve([String(kv.value), kv.mod_revision]))));
    await old.cancel();
    await client.kv.compact({ revision: (await client.get('a').exec()).header.revision, physical: true });
    await fails('compacted', async () => {
        const late = await client.watch().key('a').startRevision('1').create();
        await new Promise((_, reject) => late.once('error', reject));
    });
    await fails('read compacted', () => client.get('a').revision(2).string());
}

async function upkeep() {
    show('status', (await client.maintenance.status()).leader !== '0', (await client.cluster.memberList({})).members.map(m => m.name));
    show('alarms', (await client.maintenance.alarm({ action: 'Get', memberID: 0, alarm: 'Nospace' })).alarms);
    show('hash', (await client.maintenance.hash()).hash > 0);
    await client.maintenance.defragment();
    const snapshot = await client.maintenance.snapshot();
    show('snapshot', await new Promise((resolve, reject) => {
        let bytes = 0;
        snapshot.on('data', r => { bytes += r.blob.length; }).on('end', () => resolve(bytes > 4096)).on('error', reject);
    }));
    await fails('enable', () => client.auth.authEnable());
    show('users', await client.getUsers(), await client.getRoles());
    await fails('user', () => client.user('nobody').roles());
    await fails('role', () => client.role('none').permissions());
    await fails('members', () => client.cluster.memberAdd({ peerURLs: ['nonsense'] }));
}

for (const part of [readingAndWriting, transactions, leases, watching, upkeep])
    await part();
show('end');
client.close();
