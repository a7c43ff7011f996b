import { COMMON_TABLES, describeResources } from '@w3filecoin/runtime/resources'

/** What the storefront keeps and listens to. The stacks and the local system make what is described here. */
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
    /** A content piece on its way, by content, piece and nonce. */
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
    /** An aggregate that pieces of this storefront are in, and what became of it. */
    aggregate: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
    /** The provider of a space; its pieces are grouped by it. Filled by the operator. */
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
        // An aggregator that hangs lets it wait six times: for the answer to all offers, then for 50 receipts, ten at a time.
        // That is 25 s each, and ten more where a host is asked for keys and hangs too.
        timeout: 240,
        memory: 1024,
        uses: {
          tables: { piece: 'write', aggregate: 'write', receipt: 'write' },
          queues: ['outcome'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** End the workflows of a range of the pieces in an aggregate. */
    outcome: {
      batch: 1,
      concurrency: 20,
      attempts: 5,
      run: {
        timeout: 300,
        // As the aggregator's `deal`: it reads such receipts.
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
    blocks: { holds: 'large receipts, and what becomes of the pieces of failed aggregates, by CID' },
    content: { holds: 'the content that agents offer, by CID' },
  },
  schedules: {
    /** Send unfinished work again that nobody looked at in time, and fetch receipts that did not arrive. */
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
