// Preloaded into a process by `node --import`. The process can then connect only to this machine. It appends the address
// of every attempt to the file that CONNECTIONS names, one per line, e.g. `127.0.0.1:4001` or `up.storacha.network:443`.
import { appendFileSync } from 'node:fs'
import { Socket } from 'node:net'

interface Target {
  host?: string
  port?: number | string
  path?: string
}

const LOOPBACK = ['127.0.0.1', '::1']

const connect = Socket.prototype.connect as (this: Socket, ...args: unknown[]) => Socket

// Every connection uses this method, also those of TLS and `fetch`, before it looks up the name of the host.
Socket.prototype.connect = function (this: Socket, ...args: unknown[]) {
  // `net.connect` passes an array of the options and the callback.
  const { host = '?', port = '?', path } = args.flat()[0] as Target
  const address = path ?? `${host}:${port}`
  appendFileSync(process.env.CONNECTIONS!, `${address}\n`)
  if (!LOOPBACK.includes(host)) throw new Error(`A connection to ${address} would leave this machine`)
  return connect.apply(this, args)
} as typeof connect
