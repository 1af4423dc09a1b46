// The broker aedes behind TCP, TLS, WebSocket and both, on loopback and ports that the system chooses; prints them.
// usage: node aedes.cjs DIRECTORY_OF_NODE_MODULES CHAIN_PEM KEY_PEM
const [directory, chain, key] = process.argv.slice(2)
const { createRequire } = require('node:module')
const { readFileSync } = require('node:fs')
const { pathToFileURL } = require('node:url')
const installed = createRequire(directory + '/')
const identity = { cert: readFileSync(chain), key: readFileSync(key) }

const main = async () => {
  const { Aedes } = await import(pathToFileURL(installed.resolve('aedes')))
  const broker = await Aedes.createBroker()
  const { WebSocketServer, createWebSocketStream } = installed('ws')
  const withWebSocket = (server) => {
    const sockets = new WebSocketServer({ server, handleProtocols: (offered) => offered.has('mqtt') && 'mqtt' })
    sockets.on('connection', (socket, request) => broker.handle(createWebSocketStream(socket), request))
    return server
  }
  const servers = {
    mqtt: require('node:net').createServer(broker.handle),
    mqtts: require('node:tls').createServer(identity, broker.handle),
    ws: withWebSocket(require('node:http').createServer()),
    wss: withWebSocket(require('node:https').createServer(identity))
  }
  const lines = Object.entries(servers).map(([scheme, server]) => new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(`${scheme} ${server.address().port}`))
  }))
  console.log((await Promise.all(lines)).join('\n') + '\nready')
}

main()
