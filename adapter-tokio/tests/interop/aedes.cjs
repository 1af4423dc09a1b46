// The broker aedes behind TCP, TLS, WebSocket and both, on loopback.
// usage: node aedes.cjs DIRECTORY_OF_NODE_MODULES CHAIN_PEM KEY_PEM PORT PORT PORT PORT
const [directory, chain, key, ...ports] = process.argv.slice(2)
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
  const servers = [
    require('node:net').createServer(broker.handle),
    require('node:tls').createServer(identity, broker.handle),
    withWebSocket(require('node:http').createServer()),
    withWebSocket(require('node:https').createServer(identity))
  ]
  servers.forEach((server, n) => server.listen(Number(ports[n]), '127.0.0.1'))
}

main()
