import { COMMON_TABLES, describeResources } from '@w3filecoin/runtime/resources'

/** What the deal tracker keeps and listens to. The stacks and the local system make what is described here. */
export const resources = describeResources({
  service: 'deal-tracker',
  api: {
    timeout: 29,
    memory: 1024,
    uses: { tables: { revocation: 'write', deal: 'read', receipt: 'read' } },
  },
  tables: {
    ...COMMON_TABLES,
    /** A deal on chain, by the piece that it is for. */
    deal: { fields: { piece: 'string', deal: 'string' }, key: { hash: 'piece', range: 'deal' } },
    /** A chain source, and what its last good run brought. */
    source: { fields: { name: 'string' }, key: { hash: 'name' } },
  },
  queues: {
    /** Write a range of the deals that a run of a source changed. */
    update: {
      batch: 1,
      concurrency: 5,
      attempts: 5,
      run: {
        timeout: 120,
        memory: 1024,
        uses: { tables: { deal: 'write', source: 'write' }, buckets: { blocks: 'read' } },
      },
    },
  },
  buckets: {
    blocks: { holds: 'what the last good run of each source brought, and the changes that it made, by CID' },
  },
  schedules: {
    /** Read every chain source, and pass on what changed. */
    sync: {
      everySeconds: 900,
      run: {
        timeout: 600,
        memory: 3008,
        uses: { tables: { source: 'write' }, queues: ['update'], buckets: { blocks: 'write' } },
      },
    },
  },
})
