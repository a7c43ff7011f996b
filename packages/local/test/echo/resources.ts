import { describeResources } from '@w3filecoin/runtime/resources'

const run = { timeout: 30, memory: 128, uses: {} }

/** A service with one resource of each kind. */
export const resources = describeResources({
  service: 'echo',
  api: run,
  tables: {
    note: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id', range: 'due' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
  },
  queues: {
    takeNote: { batch: 10, window: 1, concurrency: 2, attempts: 2, run },
    inOrder: { fifo: true, batch: 1, concurrency: 2, attempts: 2, run },
  },
  buckets: { noteFiles: { holds: 'files' } },
  schedules: { tick: { everySeconds: 3600, run } },
})
