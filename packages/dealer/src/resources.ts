import { COMMON_TABLES, describeResources } from '@w3filecoin/runtime/resources'

/** What the dealer keeps and listens to. The stacks and the local system make what is described here. */
export const resources = describeResources({
  service: 'dealer',
  api: {
    timeout: 29,
    memory: 1769,
    uses: {
      tables: { revocation: 'write', aggregate: 'write', receipt: 'write' },
      queues: ['retry'],
      buckets: { blocks: 'write', offers: 'write' },
    },
  },
  tables: {
    ...COMMON_TABLES,
    /** An aggregate that deals are made for, by aggregate, list of its pieces, and nonce. */
    aggregate: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
  },
  queues: {
    /** Ask the deal tracker about aggregates. */
    track: {
      batch: 1,
      concurrency: 5,
      attempts: 5,
      run: {
        timeout: 300,
        memory: 3008,
        uses: {
          tables: { aggregate: 'write', receipt: 'write' },
          queues: ['report', 'retry', 'conclude'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** End the workflow of an aggregate without a deal. Those who make deals send to it, and `track` does. */
    report: {
      batch: 1,
      concurrency: 2,
      attempts: 5,
      run: {
        timeout: 300,
        memory: 3008,
        uses: {
          tables: { aggregate: 'write', receipt: 'write' },
          queues: ['retry', 'conclude'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Offer a range of the pieces of a failed aggregate to the aggregator again. */
    retry: {
      batch: 1,
      concurrency: 10,
      attempts: 5,
      run: {
        // Eight messages to the aggregator, one after the other, each of which may take 25 seconds to answer, and ten more
        // where a host is asked for keys.
        timeout: 300,
        memory: 1024,
        uses: { tables: { aggregate: 'write' }, buckets: { blocks: 'read' } },
      },
    },
    /** Hand receipts to the aggregators that wait for them. */
    conclude: {
      batch: 10,
      concurrency: 10,
      attempts: 5,
      run: { timeout: 120, memory: 1024, uses: { tables: { receipt: 'read' }, buckets: { blocks: 'read' } } },
    },
  },
  buckets: {
    blocks: { holds: 'the pieces of aggregates, and large receipts, by CID' },
    offers: { holds: 'the offer documents that deal making reads' },
  },
  schedules: {
    /** Ask about every aggregate whose time has come. */
    sweep: {
      everySeconds: 60,
      run: {
        timeout: 55,
        memory: 1024,
        uses: { tables: { aggregate: 'write' }, queues: ['track', 'retry'] },
      },
    },
  },
})
