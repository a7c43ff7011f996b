import { COMMON_TABLES, checkSchedule, describeResources, PEER_TABLE } from '@w3filecoin/runtime/resources'

/** The tables, queues, buckets and schedules of the deal tracker. The stacks and the local system create them. */
export const resources = describeResources({
  service: 'deal-tracker',
  api: {
    timeout: 29,
    memory: 1024,
    uses: {
      tables: {
        revocation: 'write',
        deal: 'read',
        source: 'read',
        receipt: 'read',
        peer: 'read',
        watch: 'write',
      },
    },
  },
  tables: {
    ...COMMON_TABLES,
    ...PEER_TABLE,
    /** The deals on chain, by piece; e.g. piece `baga…/35`, deal `81234567@spade`, or `f020378@spade` for a place. */
    deal: { fields: { piece: 'string', deal: 'string' }, key: { hash: 'piece', range: 'deal' } },
    /** The chain sources, each with the result of its last accepted run, and with its last good run. */
    source: { fields: { name: 'string' }, key: { hash: 'name' } },
    /** Deals that were reported to the tracker, for the source that then reads them; e.g. source `market`, deal `81234567`. */
    watch: {
      fields: { source: 'string', deal: 'string' },
      key: { hash: 'source', range: 'deal' },
      expires: 'expiresAt',
    },
  },
  queues: {
    /** Writes one range of the deals that a run of a source changed. */
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
    blocks: {
      holds: 'the snapshot and the changes of the last accepted run of each source, by CID',
      // Each run leaves the blocks of the run before. `sync` writes the present snapshot again in every run.
      keepDays: 30,
    },
  },
  schedules: {
    /** Reads every chain source, and sends the changes to `update`. */
    sync: {
      everySeconds: 900,
      run: {
        timeout: 600,
        memory: 3008,
        uses: {
          tables: { source: 'write', watch: 'read', health: 'write' },
          queues: ['update'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Check what only this service can see: its peers, its sources, its own address. */
    check: checkSchedule({ tables: { health: 'write', source: 'read' } }),
  },
})
