import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { UserError } from '@w3filecoin/service/user-error'

/** Listens on this machine only. Returns the port, which 0 leaves to the operating system. */
export const listen = (server: Server, port: number): Promise<number> =>
  new Promise((resolve, reject) => {
    server.once('error', (cause: NodeJS.ErrnoException) =>
      reject(
        new UserError(
          cause.code === 'EADDRINUSE'
            ? `Port ${port} is in use; choose others with --port`
            : `Port ${port} can not be listened on: ${cause.message}`,
        ),
      ),
    )
    server.listen({ port, host: '127.0.0.1' }, () => resolve((server.address() as AddressInfo).port))
  })
