import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { UserError } from '@w3filecoin/runtime/user-error'

/** Listens on 127.0.0.1. Returns the port; with port 0, the operating system chooses one. */
export const listen = (server: Server, port: number): Promise<number> =>
  new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        new UserError(
          cause.code === 'EADDRINUSE'
            ? `Port ${port} is in use. Stop the other process or pass --port.`
            : `Cannot listen on port ${port}: ${cause.message}. Pass another one with --port.`,
        ),
      ),
    )
    server.listen({ port, host: '127.0.0.1' }, () => resolve((server.address() as AddressInfo).port))
  })
