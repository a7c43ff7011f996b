import type { LogFile } from './log-file.ts'
import type { ServiceQuestion, StartService } from './service-thread.ts'
import { Thread } from './thread.ts'

export interface ServiceOptions {
  name: string
  /** 0: any free port. */
  port: number
  log: LogFile
  /** Called when the service ends before `stop`. */
  onCrash: (error: Error) => void
}

/** A service in a separate thread. It has its address at once, and answers requests after `start`. */
export interface ServiceThread {
  url: string
  start(options: Omit<StartService, 'name'>): Promise<void>
  stop(): Promise<void>
}

export const openService = async ({ name, port, log, onCrash }: ServiceOptions): Promise<ServiceThread> => {
  const thread = new Thread({
    name,
    entry: new URL('./service-thread.ts', import.meta.url),
    env: {},
    log,
    onCrash,
  })
  const ask = <T>(question: ServiceQuestion) => thread.ask<T>(question)
  try {
    return {
      url: `http://127.0.0.1:${await ask<number>({ listen: port })}`,
      start: options => ask({ start: { name, ...options } }),
      stop: () => thread.stop(),
    }
  } catch (cause) {
    await thread.stop()
    throw cause
  }
}
