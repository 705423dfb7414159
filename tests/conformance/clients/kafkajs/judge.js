// KafkaJS as a judge. Arguments and output as in ../python/features.py: BOOTSTRAP PREFIX FEATURE...
'use strict'
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
const lz4 = require('lz4-napi')
const zstd = require('@bokuweb/zstd-wasm')

CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer),
  decompress: buffer => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer, 3)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
})
const CODECS = { none: 0, gzip: 1, snappy: 2, lz4: 3, zstd: 4 }
const WAIT_MS = 30000
const NAME = 'kafkajs'

const [bootstrap, prefix, ...features] = process.argv.slice(2)
const toStderr = () => entry => console.error(entry.label, entry.namespace, JSON.stringify(entry.log))
const kafka = new Kafka({ clientId: 'judge', brokers: [bootstrap], logLevel: logLevel.WARN, logCreator: toStderr, retry: { retries: 5 } })
const admin = kafka.admin()

const sleep = ms => new Promise(resolve => setTimeout(resolve, ms))

function payload(seed, index, size) {
  const bytes = Buffer.alloc(size)
  for (let j = 0; j < size; j++) bytes[j] = (seed * 131 + index * 31 + j * 7 + (j >> 8) * 13) & 0xff
  return bytes
}

function equal(got, expected, what) {
  const [g, e] = [JSON.stringify(got), JSON.stringify(expected)]
  if (g !== e) throw new Error(`${what}: expected ${String(e).slice(0, 300)}, got ${String(g).slice(0, 300)}`)
}

function check(condition, what) {
  if (!condition) throw new Error(what)
}

async function until(condition, what, ms = WAIT_MS) {
  const deadline = Date.now() + ms
  while (Date.now() < deadline) {
    if (await condition()) return
    await sleep(50)
  }
  throw new Error(`not within ${ms} ms: ${what}`)
}

function codeOf(error) {
  if (error.errors && error.errors.length) return codeOf(error.errors[0])
  return error.code !== undefined ? error.code : error.cause ? codeOf(error.cause) : undefined
}

async function refusedWith(code, call, what) {
  try {
    await call()
  } catch (error) {
    equal(codeOf(error), code, `error code of ${what} (${error.message})`)
    return
  }
  throw new Error(`${what} was not refused, expected error code ${code}`)
}

const sameBytes = (a, b) => (a === null || b === null ? a === b : Buffer.compare(Buffer.from(a), Buffer.from(b)) === 0)

// The client gives headers as an object: a list of values where a key comes twice.
function headerList(headers) {
  const list = []
  for (const [key, value] of Object.entries(headers || {})) {
    for (const one of Array.isArray(value) ? value : [value]) list.push([key, one === null || one === undefined ? null : Buffer.from(one).toString('hex')])
  }
  return list
}

function sameRecords(got, sent, what) {
  for (const partition of new Set(sent.map(r => r.partition))) {
    const here = got.filter(g => g.partition === partition)
    const there = sent.filter(r => r.partition === partition)
    const first = here.length ? here[0].offset : 0
    equal(here.map(g => g.offset), there.map((_, i) => first + i), `${what}: offsets of partition ${partition}`)
    there.forEach((r, i) => {
      const g = here[i]
      if (!sameBytes(g.key, r.key) || !sameBytes(g.value, r.value)) {
        throw new Error(`${what}: partition ${partition} offset ${g.offset}: expected key ${r.key} value ${String(r.value).slice(0, 60)}, got key ${g.key} value ${String(g.value).slice(0, 60)}`)
      }
      equal(headerList(g.headers), headerList(r.headers), `${what}: headers at offset ${g.offset}`)
      if (r.timestamp) equal(g.timestamp, r.timestamp, `${what}: timestamp at offset ${g.offset}`)
    })
  }
}

async function create(topic, partitions, configs = {}) {
  const configEntries = Object.entries(configs).map(([name, value]) => ({ name, value }))
  const made = await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: partitions, replicationFactor: 1, configEntries }] })
  // The client answers `false`, without an error, to a topic that is there already.
  if (!made) throw Object.assign(new Error('the topic is there already'), { code: 36 })
}

async function produce(topic, records, { codec = 'none', acks = -1, idempotent = false } = {}) {
  const producer = kafka.producer({ idempotent, allowAutoTopicCreation: false, retry: { retries: 3 }, maxInFlightRequests: idempotent ? 1 : undefined })
  await producer.connect()
  try {
    const messages = records.map(r => ({ partition: r.partition, key: r.key, value: r.value, headers: r.headers, timestamp: r.timestamp }))
    return await producer.send({ topic, messages, acks, compression: CODECS[codec] })
  } finally {
    await producer.disconnect()
  }
}

let groups = 0
const plain = m => ({ partition: m.partition, offset: Number(m.message.offset), key: m.message.key, value: m.message.value, headers: m.message.headers, timestamp: m.message.timestamp })

// KafkaJS has no consumer without a group, so each reading makes a group of its own.
async function read(topic, count, { from = {}, ...more } = {}) {
  const consumer = kafka.consumer({ groupId: `${topic}-read-${process.pid}-${groups++}`, heartbeatInterval: 500, sessionTimeout: 10000, ...more })
  const found = []
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({ autoCommit: false, eachMessage: async m => void found.push(plain({ ...m })) })
  for (const [partition, offset] of Object.entries(from)) consumer.seek({ topic, partition: Number(partition), offset: String(offset) })
  try {
    await until(() => found.length >= count, `${count} records of ${topic}, have ${found.length}`)
  } finally {
    await consumer.disconnect()
  }
  return found.slice(0, count)
}

// A partition made a moment ago may not have its leader yet; the client's own retry covers other calls, not this one.
async function topicOffsets(topic) {
  for (let left = 20; ; left--) {
    try {
      return await admin.fetchTopicOffsets(topic)
    } catch (error) {
      if (!error.retriable || left === 0) throw error
      await sleep(100)
    }
  }
}

async function bounds(topic, partition) {
  const row = (await topicOffsets(topic)).find(r => r.partition === partition)
  return [Number(row.low), Number(row.high)]
}

class Owners {
  constructor() {
    this.owner = new Map()
    this.violations = []
    this.joined = new Map()
  }
  assigned(name, partitions) {
    this.joined.set(name, (this.joined.get(name) || 0) + 1)
    this.revoked(name)
    for (const p of partitions) {
      if (this.owner.has(p)) this.violations.push(`partition ${p} given to ${name} while ${this.owner.get(p)} owns it`)
      this.owner.set(p, name)
    }
  }
  revoked(name) {
    for (const p of this.of(name)) this.owner.delete(p)
  }
  of(name) {
    return [...this.owner].filter(([, owner]) => owner === name).map(([p]) => p).sort()
  }
  counts(...names) {
    return names.map(n => this.of(n).length).sort()
  }
}

async function member(group, topic, owners, name) {
  const consumer = kafka.consumer({ groupId: group, heartbeatInterval: 500, sessionTimeout: 10000, rebalanceTimeout: 10000 })
  const seen = []
  consumer.on(consumer.events.GROUP_JOIN, e => owners.assigned(name, e.payload.memberAssignment[topic] || []))
  consumer.on(consumer.events.REBALANCING, () => owners.revoked(name))
  await consumer.connect()
  await consumer.subscribe({ topics: [topic], fromBeginning: true })
  await consumer.run({
    autoCommit: false,
    eachMessage: async m => {
      seen.push(plain(m))
      await consumer.commitOffsets([{ topic, partition: m.partition, offset: String(Number(m.message.offset) + 1) }]).catch(e => console.error(name, 'commit', e.message))
    },
  })
  return {
    seen,
    close: async () => {
      owners.revoked(name)
      await consumer.disconnect()
    },
  }
}

async function withMembers(body) {
  const started = []
  try {
    await body(async (...args) => {
      const one = await member(...args)
      started.push(one)
      return one
    })
  } finally {
    for (const one of started) await one.close().catch(e => console.error('close', e.message))
  }
}

const FEATURES = {
  async create(topic) {
    await create(topic, 3, { 'retention.ms': '3600000' })
    for (const p of [0, 1, 2]) equal(await bounds(topic, p), [0, 0], `bounds of empty partition ${p}`)
    await refusedWith(36, () => create(topic, 3), 'creating a topic twice')
    await refusedWith(17, () => create('no spaces in names', 1), 'a name with spaces')
    await refusedWith(40, () => create(`${topic}-odd`, 1, { 'retention.ms': 'soon' }), 'a config that is no number')
  },
  async produce(topic, codec) {
    await create(topic, 3)
    const ends = [0, 0, 0]
    const sent = []
    for (const [round, acks] of [-1, 1, 0].entries()) {
      const records = [...Array(90).keys()].map(i => ({ partition: i % 3, key: Buffer.from(`k${i}`), value: payload(round, i, 100 + ((i * 37) % 900)) }))
      const placed = await produce(topic, records, { codec, acks })
      if (acks !== 0) for (const p of placed) equal(Number(p.baseOffset), ends[p.partition], `base offset in the reply, acks=${acks}`)
      for (const p of [0, 1, 2]) ends[p] += 30
      sent.push(...records)
      await until(async () => (await topicOffsets(topic)).reduce((sum, r) => sum + Number(r.high), 0) === sent.length, `acks=${acks} to be in the log`)
    }
    sameRecords(await read(topic, sent.length), sent, codec)
  },
  async idempotent(topic) {
    await create(topic, 3)
    const records = [...Array(600).keys()].map(i => ({ partition: i % 3, key: 'k', value: payload(7, i, 300) }))
    const producer = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
    await producer.connect()
    for (let at = 0; at < 600; at += 60) await producer.send({ topic, messages: records.slice(at, at + 60), acks: -1 })
    await producer.disconnect()
    for (const p of [0, 1, 2]) equal(await bounds(topic, p), [0, 200], `bounds of partition ${p}`)
    sameRecords(await read(topic, 600), records, 'idempotent')
  },
  async 'group-commit'(topic) {
    await create(topic, 2)
    const groupId = `${topic}-g`
    const records = [...Array(100).keys()].map(i => ({ partition: i % 2, key: String(i), value: payload(3, i, 50) }))
    await produce(topic, records)
    const seen = []
    const at = {}
    const settings = { groupId, heartbeatInterval: 500, sessionTimeout: 10000 }
    const first = kafka.consumer(settings)
    await first.connect()
    await first.subscribe({ topics: [topic], fromBeginning: true })
    await first.run({
      autoCommit: false,
      eachMessage: async m => {
        if (seen.length >= 40) return
        seen.push(plain(m))
        at[m.partition] = Number(m.message.offset) + 1
      },
    })
    await until(() => seen.length === 40, 'forty records')
    await first.commitOffsets(Object.entries(at).map(([p, offset]) => ({ topic, partition: Number(p), offset: String(offset), metadata: 'read' })))
    await first.disconnect()
    const committed = (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions
    for (const [p, offset] of Object.entries(at)) {
      const row = committed.find(r => r.partition === Number(p))
      equal([Number(row.offset), row.metadata], [offset, 'read'], `committed offset and metadata of partition ${p}`)
    }
    const second = kafka.consumer(settings)
    await second.connect()
    await second.subscribe({ topics: [topic], fromBeginning: true })
    await second.run({ autoCommit: false, eachMessage: async m => void seen.push(plain(m)) })
    await until(() => seen.length >= 100, 'the other sixty records')
    await sleep(300)
    await second.disconnect()
    equal(seen.map(g => Number(g.key.toString())).sort((a, b) => a - b), [...Array(100).keys()], 'what both members read, each record once')
    for (const g of seen) check(sameBytes(g.value, payload(3, Number(g.key.toString()), 50)), 'a value differs')
  },
  async rebalance(topic) {
    await create(topic, 4)
    const owners = new Owners()
    const sent = new Set()
    const some = async round => {
      const records = [...Array(40).keys()].map(i => ({ partition: i % 4, key: `${round}-${i}`, value: 'v' }))
      await produce(topic, records)
      records.forEach(r => sent.add(r.key))
    }
    await withMembers(async start => {
      const all = []
      const everything = () => {
        const keys = new Set(all.flatMap(m => m.seen.map(g => g.key.toString())))
        return [...sent].every(k => keys.has(k))
      }
      all.push(await start(`${topic}-g`, topic, owners, 'A'))
      await until(() => owners.counts('A')[0] === 4, 'the first member to own all four partitions')
      await some(0)
      await until(everything, 'the first member to read everything')
      all.push(await start(`${topic}-g`, topic, owners, 'B'))
      await until(() => String(owners.counts('A', 'B')) === '2,2', 'two members to own two partitions each')
      await some(1)
      await until(everything, 'both members to read everything')
      await all[1].close()
      await until(() => owners.counts('A')[0] === 4, 'the first member to own everything again after the second left')
      await some(2)
      await until(everything, 'everything to be read after the second left')
      equal(owners.violations, [], 'owners')
    })
  },
  async surplus(topic) {
    await create(topic, 2)
    const owners = new Owners()
    await withMembers(async start => {
      await Promise.all(['A', 'B', 'C'].map(name => start(`${topic}-g`, topic, owners, name)))
      const settled = () => String(owners.counts('A', 'B', 'C')) === '0,1,1'
      await until(() => settled() && owners.joined.size === 3, 'two owners and one idle member')
      await sleep(2000)
      check(settled(), `two owners and one idle member, two seconds later: ${owners.counts('A', 'B', 'C')}`)
      equal(owners.violations, [], 'owners')
    })
  },
  async 'single-owner'(topic) {
    await create(topic, 6)
    const owners = new Owners()
    await withMembers(async start => {
      const alive = new Map()
      for (const step of ['+A', '+B', '+C', '-B', '+D', '-A', '-C']) {
        const name = step[1]
        if (step[0] === '+') {
          alive.set(name, await start(`${topic}-g`, topic, owners, name))
        } else {
          await alive.get(name).close()
          alive.delete(name)
        }
        const share = [...alive.keys()].map(() => 6 / alive.size)
        await until(() => String(owners.counts(...alive.keys())) === String(share), `${step}: ${alive.size} members to share six partitions`)
      }
      equal(owners.violations, [], 'owners')
    })
  },
  async 'seek-time'(topic) {
    await create(topic, 1)
    const base = Date.now() - 3600000
    const records = [...Array(100).keys()].map(i => ({ partition: 0, key: String(i), value: payload(5, i, 40), timestamp: String(base + i * 1000) }))
    await produce(topic, records.slice(0, 60), { codec: 'gzip' })
    await produce(topic, records.slice(60))
    // The client maps "no such record" to the end of the partition.
    const cases = [[-5000, 0], [0, 0], [50000, 50], [50001, 51], [75500, 76], [99000, 99], [99001, 100]]
    for (const [after, expected] of cases) {
      const [row] = await admin.fetchTopicOffsetsByTimestamp(topic, base + after)
      equal(Number(row.offset), expected, `offset for base+${after} ms`)
    }
    const [got] = await read(topic, 1, { from: { 0: 51 } })
    equal([got.offset, got.key.toString(), got.timestamp], [51, '51', String(base + 51000)], 'the record found by time')
    sameRecords(await read(topic, 100), records, 'timestamps')
  },
  async large(topic) {
    await create(topic, 1, { 'max.message.bytes': String(8 << 20) })
    const records = [0, 1, 2].map(i => ({ partition: 0, key: 'large', value: payload(i, i, 4 << 20) }))
    for (const r of records) await produce(topic, [r])
    sameRecords(await read(topic, 3), records, '4 MiB records')
    await create(`${topic}-small`, 1)
    await refusedWith(10, () => produce(`${topic}-small`, [{ partition: 0, key: null, value: payload(1, 1, 1200000) }]), 'a record over max.message.bytes')
    equal(await bounds(`${topic}-small`, 0), [0, 0], 'bounds after the refusal')
  },
  async headers(topic) {
    await create(topic, 1)
    const records = [
      { one: Buffer.from('1') },
      { twice: [Buffer.from('a'), Buffer.from('b')], other: Buffer.from([0, 255]) },
      { empty: Buffer.alloc(0), größe: Buffer.from('naïve ✓') },
      { long: payload(1, 1, 5000) },
      {},
    ].map(headers => ({ partition: 0, key: 'k', value: 'v', headers }))
    await produce(topic, records, { codec: 'gzip' })
    await produce(topic, records)
    sameRecords(await read(topic, 10), [...records, ...records], 'headers')
  },
  async nulls(topic) {
    await create(topic, 1)
    const e = Buffer.alloc(0)
    const records = [[null, 'v'], ['k', null], [e, 'v'], ['k', e], [null, e], [e, null]].map(([key, value]) => ({ partition: 0, key, value }))
    await produce(topic, records)
    await produce(topic, records, { codec: 'gzip' })
    sameRecords(await read(topic, 12), [...records, ...records], 'null and empty')
  },
  async admin(topic) {
    await create(topic, 1)
    await until(async () => (await admin.listTopics()).includes(topic), 'the topic to be listed')
    const described = (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0]
    equal([described.name, described.partitions.length, described.partitions[0].isr.length], [topic, 1, 1], 'description')
    const cluster = await admin.describeCluster()
    equal(cluster.brokers.length, 1, 'nodes of the cluster')
    const resource = { type: 2, name: topic }
    const configs = async () => Object.fromEntries((await admin.describeConfigs({ includeSynonyms: true, resources: [resource] })).resources[0].configEntries.map(e => [e.configName, e]))
    equal((await configs())['retention.ms'].configValue, '604800000', 'default of retention.ms')
    check(Object.keys(await configs()).length >= 25, 'too few topic configs described')
    await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource, configEntries: [{ name: 'retention.ms', value: '7200000' }] }] })
    await until(async () => (await configs())['retention.ms'].configValue === '7200000', 'the new retention.ms')
    await admin.createPartitions({ topicPartitions: [{ topic, count: 3 }] })
    await until(async () => (await admin.fetchTopicMetadata({ topics: [topic] })).topics[0].partitions.length === 3, 'three partitions')
    await produce(topic, [...Array(10).keys()].map(() => ({ partition: 0, key: 'k', value: 'v' })))
    await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '4' }] })
    equal(await bounds(topic, 0), [4, 10], 'bounds after delete-records')
    const groupId = `${topic}-g`
    const owners = new Owners()
    await withMembers(async start => {
      const one = await start(groupId, topic, owners, 'A')
      await until(() => one.seen.length === 6, 'six records from the group')
      const [group] = (await admin.describeGroups([groupId])).groups
      equal([group.state, group.members.length], ['Stable', 1], 'group with one member')
    })
    check((await admin.listGroups()).groups.some(g => g.groupId === groupId), 'the group is not listed')
    equal((await admin.describeGroups([groupId])).groups[0].state, 'Empty', 'state without members')
    await admin.setOffsets({ groupId, topic, partitions: [{ partition: 0, offset: '5' }] })
    const rows = (await admin.fetchOffsets({ groupId, topics: [topic] }))[0].partitions
    equal(Number(rows.find(r => r.partition === 0).offset), 5, "the group's offset after setting it")
    await admin.deleteGroups([groupId])
    check(!(await admin.listGroups()).groups.some(g => g.groupId === groupId), 'the deleted group is still listed')
    await admin.deleteTopics({ topics: [topic] })
    await until(async () => !(await admin.listTopics()).includes(topic), 'the topic to be gone')
  },
  async 'transactions-answered'(topic) {
    const begun = Date.now()
    const producer = kafka.producer({ transactionalId: topic, idempotent: true, maxInFlightRequests: 1, retry: { retries: 3 } })
    await producer.connect()
    try {
      await (await producer.transaction()).abort()
    } catch (error) {
      console.error('transactions:', error.message)
    } finally {
      await producer.disconnect()
    }
    check(Date.now() - begun < 15000, `a transactional producer was answered only after ${Date.now() - begun} ms`)
  },
  async 'interop-write'() {
    for (const codec of Object.keys(CODECS)) {
      const name = `${prefix}-interop-${NAME}-${codec}`
      await create(name, 1)
      await produce(name, interopRecords(NAME, codec), { codec })
    }
  },
  async 'interop-read'(_, writers) {
    await Promise.all(
      writers.split(',').map(async writer => {
        const [client, codec] = writer.split(':')
        sameRecords(await read(`${prefix}-interop-${client}-${codec}`, 50), interopRecords(client, codec), `what ${writer} wrote`)
      })
    )
  },
}

function interopRecords(client, codec) {
  const seed = [...Buffer.from(client + codec)].reduce((sum, b) => sum + b, 0) & 0xff
  return [...Array(50).keys()].map(i => ({
    partition: 0,
    key: `${client}-${codec}-${i}`,
    value: i % 10 === 9 ? null : payload(seed, i, 20 + ((i * 53) % 700)),
    headers: { codec: Buffer.from(codec) },
  }))
}

async function main() {
  await zstd.init()
  await admin.connect()
  let failed = false
  for (const argument of features) {
    const [feature, value] = argument.split('=')
    console.error(`--- ${feature}`)
    try {
      const [, codec] = feature.match(/^produce-(.*)$/) || []
      await FEATURES[codec ? 'produce' : feature](`${prefix}-${NAME}-${feature}`, codec || value)
      console.log(`PASS ${feature}`)
    } catch (error) {
      failed = true
      console.error(error)
      console.log(`FAIL ${feature} ${error.name}: ${error.message}`.replace(/\n/g, ' ').slice(0, 900))
    }
  }
  await admin.disconnect()
  process.exit(failed ? 1 : 0)
}

main()
