// MQTT.js, on node's event loop. It has no window: the program keeps 100 publishes whose callbacks have
// not come. What is published in one turn of the event loop leaves in one write.
//
// The rest means the same as in `src/client.rs`, `src/control.rs`, `src/messages.rs` and `src/sample.rs`.
'use strict'

const { once } = require('node:events')
const fs = require('node:fs')
const net = require('node:net')
const { setTimeout: sleep } = require('node:timers/promises')
const mqtt = require('mqtt')

const TOPIC = 'sensors/building-7/t/001'
const WINDOW = 100
const LATE_MS = 300
// Of one measurement; 10,000 connections take longer.
const timeoutSeconds = (kind) => kind === 'idle' ? 60 : 8
// How many messages a batch has.
const MESSAGES_OF_BATCH = 1000
// How many filters one SUBSCRIBE has at most.
const CHUNK = 500

/** One measurement, as the command line has it: SCENARIO N PORT. */
function parseJob (scenario, n, port) {
  const job = { kind: scenario, n: Number(n), port: Number(port), qos: 0, size: 16, filters: [] }
  const sized = /^(publish|receive)-(\d)-(\d+)$/.exec(scenario)
  if (sized) {
    job.kind = sized[1]
    job.qos = Number(sized[2])
    job.size = Number(sized[3])
  }
  const filters = /^(filters|streams)-(\d+)$/.exec(scenario)
  if (filters) {
    job.kind = 'filters'
    const count = Number(filters[2])
    job.filters = Array.from({ length: count }, (_, i) => `sensors/${i}/+`)
  } else if (['receive', 'late', 'ping-pong'].includes(job.kind)) {
    job.filters = ['sensors/#']
  }
  if (scenario.startsWith('idle-')) job.kind = 'idle'
  if (job.kind === 'awaited' || job.kind === 'batches') job.qos = 1
  if (job.kind === 'late') job.size = 1024
  return job
}

/** The control connection. */
class Control {
  static async connect (port) {
    const control = new Control()
    control.socket = net.connect({ host: '127.0.0.1', port, noDelay: true })
    await once(control.socket, 'connect')
    control.socket.write('C')
    await once(control.socket, 'data')
    return control
  }

  /** Starts the server's part; `done` settles when the server has completed all messages. */
  go () {
    this.done = once(this.socket, 'data')
    this.socket.write('g')
  }
}

/** The payload of message `number`: a fresh buffer. */
function payload (number, size) {
  const bytes = Buffer.alloc(size, 'x')
  bytes.writeUInt32BE(Math.floor(number / 2 ** 32), 0)
  bytes.writeUInt32BE(number % 2 ** 32, 4)
  return bytes
}

/** A line of /proc/self/status, in bytes. */
function memory (field) {
  const status = fs.readFileSync('/proc/self/status', 'latin1')
  const line = status.split('\n').find((line) => line.startsWith(field))
  return line ? parseInt(line.slice(field.length)) * 1024 : 0
}

/** The measured part, from its beginning. */
class Stopwatch {
  constructor () {
    this.resident = memory('VmRSS:')
    // getrusage, of all threads.
    this.usage = process.cpuUsage()
    this.start = process.hrtime.bigint()
  }

  stop (n) {
    const wall = Number(process.hrtime.bigint() - this.start) / 1e9
    const usage = process.cpuUsage(this.usage)
    return {
      messages: n,
      user: usage.user / 1e6,
      system: usage.system / 1e6,
      wall,
      peak: memory('VmHWM:'),
      grown: Math.max(memory('VmRSS:') - this.resident, 0)
    }
  }
}

/** What each peer has, as `Peer` in `src/peers.rs`. */
class Peer {
  count = 0
  sum = 0
  /** The number of messages at which `reached` is called. */
  wanted = Infinity
  reached = () => {}

  static async connect (port, clientId) {
    const peer = new Peer()
    peer.client = mqtt.connect({ host: '127.0.0.1', port, clientId, protocolVersion: 4, reconnectPeriod: 0 })
    peer.client.stream.setNoDelay(true)
    peer.client.on('message', (topic, message) => {
      peer.count++
      peer.sum += message.readUInt32BE(0) * 2 ** 32 + message.readUInt32BE(4)
      if (peer.count === peer.wanted) peer.reached()
    })
    await once(peer.client, 'connect')
    peer.client.on('close', lost)
    return peer
  }

  /** Publishes all messages, with a window of WINDOW, until the server is done. */
  async publish (job, control) {
    await new Promise((resolve) => {
      let sent = 0
      let completed = 0
      let isWaiting = false
      // In batches, all of one are acknowledged before the next.
      const endsBatch = () => job.kind === 'batches' && sent % MESSAGES_OF_BATCH === 0 && completed < sent
      const fill = () => {
        isWaiting = false
        while (sent < job.n && sent - completed < WINDOW && !endsBatch()) {
          this.client.publish(TOPIC, payload(sent++, job.size), { qos: job.qos }, onCompleted)
        }
        isWaiting = true
        if (completed === job.n) resolve()
      }
      const onCompleted = (error) => {
        if (error) throw error
        completed++
        // Not before all that one read brought is handled, so that more messages leave in one write. At
        // QoS 0 the callback comes from within the call, unless the socket is full.
        if (isWaiting) setImmediate(fill)
        isWaiting = false
      }
      fill()
    })
    await control.done
  }

  /** Publishes from WINDOW tasks, each of which waits for each acknowledgement. */
  async publishAwaited (job) {
    const task = async (first) => {
      for (let number = first; number < job.n; number += WINDOW) {
        await this.client.publishAsync(TOPIC, payload(number, job.size), { qos: 1 })
      }
    }
    await Promise.all(Array.from({ length: WINDOW }, (_, i) => task(i)))
  }

  async subscribe (filters, qos) {
    for (let start = 0; start < filters.length; start += CHUNK) {
      await this.client.subscribeAsync(filters.slice(start, start + CHUNK), { qos })
    }
  }

  /** Receives up to message `n`. */
  receive (n) {
    return new Promise((resolve) => {
      this.wanted = n
      this.reached = resolve
      if (this.count >= n) resolve()
    })
  }

  /** Leaves the first message unhandled, and with it the socket unread, for a time. */
  delay (ms) {
    const handle = this.client.handleMessage
    this.client.handleMessage = (packet, callback) => {
      this.client.handleMessage = handle
      setTimeout(callback, ms)
    }
  }

  /** Publishes one message at QoS 0 and receives it. */
  async ping (message) {
    const received = this.receive(this.count + 1)
    this.client.publish(TOPIC, message)
    await received
  }

  async disconnect () {
    this.client.off('close', lost)
    await this.client.endAsync()
  }
}

/** The scenarios of one connection. */
async function messages (job, control) {
  const peer = await Peer.connect(job.port, 'bench')
  if (job.filters.length > 0) await peer.subscribe(job.filters, job.qos)
  const times = []
  if (job.kind === 'late') peer.delay(LATE_MS)
  const stopwatch = new Stopwatch()
  control.go()
  if (job.kind === 'publish' || job.kind === 'batches') {
    await peer.publish(job, control)
  } else if (job.kind === 'awaited') {
    await peer.publishAwaited(job)
  } else if (job.kind === 'ping-pong') {
    for (let number = 0; number < job.n; number++) {
      const message = payload(number, job.size)
      const start = process.hrtime.bigint()
      await peer.ping(message)
      times.push(Number(process.hrtime.bigint() - start) / 1e3)
    }
  } else {
    await peer.receive(job.n)
  }
  const sample = stopwatch.stop(job.n)
  if (times.length > 0) {
    times.sort((a, b) => a - b)
    sample.latency = [times[Math.floor(job.n / 2)], times[Math.floor(job.n * 99 / 100)]]
  } else if (job.filters.length > 0) {
    sample.tally = { count: peer.count, sum: peer.sum }
  }
  await peer.disconnect()
  return sample
}

async function idle (job, control) {
  // What the process allocates once is not a connection's.
  const peers = [await Peer.connect(job.port, 'first')]
  const stopwatch = new Stopwatch()
  control.go()
  for (let i = 0; i < job.n; i++) peers.push(await Peer.connect(job.port, `idle-${i}`))
  return stopwatch.stop(job.n)
}

async function connect (job, control) {
  await (await Peer.connect(job.port, 'first')).disconnect()
  const stopwatch = new Stopwatch()
  control.go()
  for (let i = 0; i < job.n; i++) await (await Peer.connect(job.port, 'connect')).disconnect()
  return stopwatch.stop(job.n)
}

async function main (words) {
  if (words[0] === 'version') {
    console.log(`${require('mqtt/package.json').version} (node ${process.versions.node})`)
    return
  }
  const job = parseJob(...words)
  const timeout = timeoutSeconds(job.kind)
  sleep(timeout * 1000, null, { ref: false }).then(() => {
    console.error(`not finished after ${timeout}s`)
    process.exit(1)
  })
  const control = await Control.connect(job.port)
  const measure = { idle, connect }[job.kind] ?? messages
  const sample = await measure(job, control)
  fs.writeSync(1, JSON.stringify(sample) + '\n')
  process.exit(0)
}

function lost () {
  fail(new Error('the connection is lost'))
}

function fail (error) {
  console.error(`failed: ${error.message}`)
  process.exit(1)
}

process.on('uncaughtException', fail)
main(process.argv.slice(2)).catch(fail)
