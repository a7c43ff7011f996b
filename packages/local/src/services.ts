import type { LogFile } from './log-file.ts'
import type { ServicesNews, ServicesQuestion, StartServices } from './services-thread.ts'
import { Thread } from './thread.ts'

interface ServicesOptions {
  /** The port of each service. 0: any free port. */
  ports: readonly number[]
  log: LogFile
  /** Called when the thread ends before `stop`. */
  onCrash: (error: Error) => void
}

/** The services, in a separate thread. Each has its address at once, and answers requests after `start`. */
export interface Services {
  /** In the order of the ports. */
  urls: string[]
  start(options: StartServices): Promise<void>
  /** Notifies the services of an event, see `Wake.after`. */
  notify(event: string): void
  stop(): Promise<void>
}

export const openServices = async ({ ports, log, onCrash }: ServicesOptions): Promise<Services> => {
  const thread = new Thread({
    name: 'The services',
    entry: new URL('./services-thread.ts', import.meta.url),
    env: {},
    log,
    onCrash,
  })
  const ask = <T>(question: ServicesQuestion) => thread.ask<T>(question)
  try {
    const open = await ask<number[]>({ listen: ports })
    return {
      urls: open.map(port => `http://127.0.0.1:${port}`),
      start: options => ask({ start: options }),
      notify: event => thread.post({ happened: event } satisfies ServicesNews),
      stop: () => thread.stop(),
    }
  } catch (cause) {
    await thread.stop()
    throw cause
  }
}
