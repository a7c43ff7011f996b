import { COMMON_TABLES, describeResources } from '@w3filecoin/runtime/resources'

/** What the aggregator keeps and listens to. The stacks and the local system make what is described here. */
export const resources = describeResources({
  service: 'aggregator',
  api: {
    timeout: 29,
    memory: 1024,
    uses: {
      tables: {
        revocation: 'write',
        piece: 'write',
        aggregate: 'write',
        member: 'read',
        receipt: 'write',
        tally: 'read',
      },
      queues: ['piece', 'deal', 'conclude'],
      buckets: { blocks: 'write' },
    },
  },
  tables: {
    ...COMMON_TABLES,
    /** A piece that a storefront offered, by group, piece and nonce; a second storefront's also by that. */
    piece: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
    /** The pieces of a group that wait for an aggregate, first come first. */
    pending: { fields: { group: 'string', order: 'string' }, key: { hash: 'group', range: 'order' } },
    /** How a group is sealed: which aggregate was the last, what is still to be done for it. */
    group: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
    /** How much of a group is pending; a hint. */
    tally: { fields: { id: 'string' }, key: { hash: 'id' } },
    /** An aggregate that was sealed. */
    aggregate: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
    /** The pieces in an aggregate, should they have to be tried again. */
    member: {
      fields: { aggregate: 'string', piece: 'string' },
      key: { hash: 'aggregate', range: 'piece' },
    },
  },
  queues: {
    /** Put offered pieces into the list of their group. */
    piece: {
      batch: 100,
      window: 1,
      concurrency: 10,
      attempts: 5,
      run: {
        timeout: 60,
        memory: 1024,
        uses: {
          tables: { piece: 'write', pending: 'write', group: 'write', tally: 'write' },
          queues: ['seal'],
        },
      },
    },
    /** Make an aggregate of a group, one at a time a group. */
    seal: {
      fifo: true,
      batch: 1,
      concurrency: 10,
      attempts: 5,
      run: {
        timeout: 300,
        memory: 3008,
        uses: {
          tables: { piece: 'read', pending: 'write', group: 'write', tally: 'write', aggregate: 'write' },
          queues: ['seal', 'include', 'deal'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Tell a range of the pieces of an aggregate that they are in it. */
    include: {
      batch: 1,
      concurrency: 20,
      attempts: 5,
      run: {
        timeout: 120,
        memory: 1024,
        uses: {
          tables: {
            piece: 'write',
            pending: 'write',
            aggregate: 'write',
            member: 'write',
            receipt: 'write',
          },
          queues: ['conclude'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Offer an aggregate to the dealer. */
    deal: {
      batch: 1,
      concurrency: 5,
      attempts: 5,
      run: {
        // The receipt of a failed aggregate may have a task for each of 95,000 pieces.
        timeout: 300,
        memory: 3008,
        uses: {
          tables: { aggregate: 'write', receipt: 'write' },
          queues: ['conclude'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Hand receipts to the storefronts that wait for them. */
    conclude: {
      batch: 10,
      concurrency: 10,
      attempts: 5,
      run: { timeout: 120, memory: 1024, uses: { tables: { receipt: 'read' }, buckets: { blocks: 'read' } } },
    },
  },
  buckets: {
    blocks: { holds: 'the pieces and proofs of aggregates, and large receipts, by CID' },
  },
  schedules: {
    /** Send unfinished work again that nobody looked at in time, seal groups that waited long enough. */
    sweep: {
      everySeconds: 60,
      run: {
        timeout: 55,
        memory: 1024,
        uses: {
          tables: { piece: 'write', group: 'write', aggregate: 'write' },
          queues: ['piece', 'seal', 'include', 'deal'],
        },
      },
    },
  },
})
