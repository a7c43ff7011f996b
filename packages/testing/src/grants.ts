import { AsyncLocalStorage } from 'node:async_hooks'
import type { Blocks, Consumer, Engine, MessageOrder, Queue, Row, Service, Table } from '@w3filecoin/runtime'
import { type Resources, type Uses, usesOf } from '@w3filecoin/runtime/resources'

/** How a function uses a resource. Sending to a queue is a write. */
export type Mode = 'read' | 'write'
type Kind = keyof Uses

const TABLE_MODES: { [M in keyof Table<Row>]: Mode } = {
  get: 'read',
  getMany: 'read',
  list: 'read',
  find: 'read',
  insert: 'write',
  replace: 'write',
  putMany: 'write',
  removeMany: 'write',
  add: 'write',
}
const QUEUE_MODES: { [M in keyof Queue<object>]: Mode } = { send: 'write' }
const BLOCKS_MODES: { [M in keyof Blocks]: Mode } = { get: 'read', locate: 'read', put: 'write' }

/**
 * Enforces the `uses` of a service's functions, as AWS does with permissions, and records every resource that a function
 * uses.
 */
export class Grants {
  /** The resources that each function used, e.g. `sweep` → `tables piece write`. */
  readonly touched = new Map<string, Set<string>>()
  readonly #resources: Resources
  readonly #running = new AsyncLocalStorage<string>()

  constructor(resources: Resources) {
    this.#resources = resources
  }

  /** Returns the engine with every call checked. A call outside of a function is allowed. */
  engine(engine: Engine): Engine {
    return {
      table: <R extends object>(name: string) =>
        this.#guard<Table<R>>(engine.table(name), TABLE_MODES, 'tables', name),
      queue: <M>(name: string, order?: MessageOrder<M>) =>
        this.#guard<Queue<M>>(engine.queue(name, order), QUEUE_MODES, 'queues', name),
      blocks: name => this.#guard(engine.blocks(name), BLOCKS_MODES, 'buckets', name),
    }
  }

  /** Returns the service with each function running under its own grants. */
  host<S extends Service>(service: S): S {
    const within =
      <A extends unknown[], T>(name: string, run: (...given: A) => T) =>
      (...given: A): T =>
        this.#running.run(name, () => run(...given))
    const { api, consumers, schedules } = service
    const map = <T>(all: Record<string, T>, change: (name: string, one: T) => T) =>
      Object.fromEntries(Object.entries(all).map(([name, one]) => [name, change(name, one)]))
    return {
      ...service,
      api: new Proxy(api, {
        get: (target, method) => {
          const value = Reflect.get(target, method)
          return method === 'request' || method === 'fetch' ? within('api', value.bind(target)) : value
        },
      }),
      consumers: map(consumers as Record<string, Consumer<unknown>>, (name, { decode, handle }) => ({
        decode,
        handle: within(name, handle),
      })),
      schedules: map(schedules as Record<string, () => Promise<void>>, within),
    }
  }

  /** Records that the running function uses a resource. Throws if its `uses` do not include it. */
  touch(kind: Kind, name: string, mode: Mode): void {
    const running = this.#running.getStore()
    if (running === undefined) return
    const touched = this.touched.get(running) ?? new Set()
    const use = `${kind} ${name} ${mode}`
    if (touched.has(use)) return
    const granted = grantsOf(this.#resources, running)
    if (granted.includes(use) || granted.includes(`${kind} ${name} write`))
      this.touched.set(running, touched.add(use))
    else
      throw new Error(
        `Function ${running} of ${this.#resources.service} uses ${kind} ${name} (${mode}), which is missing in its \`uses\`. Add it in resources.ts.`,
      )
  }

  #guard<P extends object>(port: P, modes: { [M in keyof P]: Mode }, kind: Kind, name: string): P {
    return new Proxy(port, {
      get: (target, method) => {
        const value = Reflect.get(target, method)
        const mode = modes[method as keyof P]
        if (mode === undefined || typeof value !== 'function') return value
        return (...given: unknown[]) => {
          this.touch(kind, name, mode)
          return value.apply(target, given)
        }
      },
    })
  }
}

/** Returns the resources that a function may use, e.g. `tables piece write`. The mode `write` includes `read`. */
export const grantsOf = (resources: Resources, name: string): string[] => {
  const { tables = {}, queues = [], buckets = {} } = usesOf(resources, name)
  return [
    ...Object.entries(tables).map(([table, mode]) => `tables ${table} ${mode}`),
    ...queues.map(queue => `queues ${queue} write`),
    ...Object.entries(buckets).map(([bucket, mode]) => `buckets ${bucket} ${mode}`),
  ]
}
