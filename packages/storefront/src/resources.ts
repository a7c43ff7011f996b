import { COMMON_TABLES, describeResources } from '@w3filecoin/runtime/resources'

/** The tables, queues, buckets and functions of the storefront. The stacks and the local system create them from this. */
export const resources = describeResources({
  service: 'storefront',
  api: {
    timeout: 29,
    memory: 1024,
    uses: {
      tables: { revocation: 'write', piece: 'write', aggregate: 'write', receipt: 'write', space: 'read' },
      queues: ['submit', 'outcome'],
      buckets: { blocks: 'write', content: 'read' },
    },
  },
  tables: {
    ...COMMON_TABLES,
    /** Content pieces on their way to a deal: one per content, piece and nonce. */
    piece: {
      fields: {
        id: 'string',
        due: 'string',
        checkAt: 'number',
        piece: 'string',
        waitsFor: 'string',
        memberOf: 'string',
      },
      key: { hash: 'id' },
      indexes: {
        due: { hash: 'due', range: 'checkAt' },
        piece: { hash: 'piece', range: 'id' },
        waitsFor: { hash: 'waitsFor', range: 'id' },
        memberOf: { hash: 'memberOf', range: 'id' },
      },
    },
    /** Aggregates that contain pieces of this storefront, and their outcomes. */
    aggregate: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
    /** The provider of each space, which becomes the group of its pieces. The operator fills it. */
    space: { fields: { space: 'string' }, key: { hash: 'space' } },
  },
  queues: {
    /** Read a piece's content, and check that it hashes to the piece. */
    submit: {
      batch: 1,
      concurrency: 50,
      attempts: 5,
      run: {
        timeout: 900,
        memory: 1769,
        uses: {
          tables: { piece: 'write', receipt: 'write' },
          queues: ['aggregation'],
          buckets: { blocks: 'write', content: 'read' },
        },
      },
    },
    /** Offer pieces to the aggregator. */
    aggregation: {
      batch: 50,
      window: 1,
      concurrency: 10,
      attempts: 5,
      run: {
        // If the aggregator hangs, a run waits for it six times: for the answer to all offers, then for 50 receipts, ten at a
        // time. Each wait takes 25 s, and 10 s more if a host that serves keys hangs too.
        timeout: 240,
        memory: 1024,
        uses: {
          tables: { piece: 'write', aggregate: 'write', receipt: 'write' },
          queues: ['outcome'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Settle some pieces of an aggregate with its outcome. */
    outcome: {
      batch: 1,
      concurrency: 20,
      attempts: 5,
      run: {
        timeout: 300,
        // As for queue `deal` of the aggregator: it reads receipts of the same size.
        memory: 3008,
        uses: {
          tables: { piece: 'write', aggregate: 'write', receipt: 'write' },
          queues: ['aggregation', 'outcome'],
          buckets: { blocks: 'write' },
        },
      },
    },
  },
  buckets: {
    blocks: { holds: 'large receipts, and the verdicts on the pieces of failed aggregates, by CID' },
    content: { holds: 'the content that agents offer, by CID' },
  },
  schedules: {
    /** Send the messages of overdue records again. */
    sweep: {
      everySeconds: 60,
      run: {
        timeout: 55,
        memory: 1024,
        uses: {
          tables: { piece: 'write', aggregate: 'write' },
          queues: ['submit', 'aggregation', 'outcome'],
        },
      },
    },
  },
})
