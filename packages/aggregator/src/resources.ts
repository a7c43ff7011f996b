import {
  COMMON_TABLES,
  checkSchedule,
  describeResources,
  PEER_TABLE,
  TRANSLATION_TABLE,
} from '@w3filecoin/runtime/resources'

/** The aggregator's tables, queues, buckets and schedules. The stacks and the local system create them from this. */
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
        pending: 'write',
        group: 'write',
        tally: 'write',
        translation: 'write',
        peer: 'read',
        quota: 'write',
      },
      queues: ['seal', 'deal', 'conclude', 'translate'],
      buckets: { blocks: 'write' },
    },
  },
  tables: {
    ...COMMON_TABLES,
    ...TRANSLATION_TABLE,
    ...PEER_TABLE,
    /**
     * A piece that a storefront offered, by group, piece and nonce; also by storefront, if another one offered it
     * first.
     */
    piece: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
    /** The pieces of a group that wait for an aggregate, retries first, then by age. */
    pending: { fields: { group: 'string', order: 'string' }, key: { hash: 'group', range: 'order' } },
    /** The state of a group: the number of its aggregates, and the seals whose pieces have no receipts yet. */
    group: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
    /** Counts the pending pieces of a group; may be wrong. */
    tally: { fields: { id: 'string' }, key: { hash: 'id' }, derived: true },
    /** Counts the pieces that storefronts with a bound offer, by day. */
    quota: {
      fields: { storefront: 'string', day: 'string' },
      key: { hash: 'storefront', range: 'day' },
      expires: 'expiresAt',
      derived: true,
    },
    /** A sealed aggregate. */
    aggregate: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
    /** The pieces in an aggregate of code before decision 0076. Later aggregates have them in blocks. */
    member: {
      fields: { aggregate: 'string', piece: 'string' },
      key: { hash: 'aggregate', range: 'piece' },
    },
  },
  queues: {
    /** Add pieces that code before decision 0076 recorded as offered to the lists of their groups. */
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
    /** Make an aggregate of a group's pieces. The messages of one group are handled one after the other. */
    seal: {
      fifo: true,
      batch: 1,
      concurrency: 10,
      attempts: 5,
      run: {
        timeout: 300,
        memory: 3008,
        uses: {
          tables: {
            piece: 'read',
            pending: 'write',
            group: 'write',
            tally: 'write',
            aggregate: 'write',
            // The delegation of the storefront.
            peer: 'read',
          },
          queues: ['seal', 'include', 'deal'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Issue the receipts of a range of an aggregate's pieces. */
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
          queues: ['conclude', 'translate'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Offer an aggregate to the dealer, or fetch its outcome. */
    deal: {
      batch: 1,
      concurrency: 5,
      attempts: 5,
      run: {
        // The receipt of a failed aggregate may contain a task for each of 95,000 pieces.
        timeout: 300,
        memory: 3008,
        uses: {
          tables: { aggregate: 'write', receipt: 'write' },
          queues: ['conclude'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Issue the receipts of tasks that were promised in dialects. */
    translate: {
      batch: 50,
      window: 1,
      concurrency: 10,
      attempts: 5,
      run: {
        timeout: 60,
        memory: 1024,
        uses: {
          tables: { translation: 'write', piece: 'read', aggregate: 'read', receipt: 'write' },
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Send receipts to the storefronts that wait for them. */
    conclude: {
      batch: 10,
      concurrency: 10,
      attempts: 5,
      run: {
        timeout: 120,
        memory: 1024,
        uses: { tables: { receipt: 'read', peer: 'read' }, buckets: { blocks: 'read' } },
      },
    },
  },
  buckets: {
    blocks: {
      holds: 'the pieces and proofs of aggregates, and large receipts, by CID',
      webMethods: ['GET', 'HEAD'],
    },
  },
  schedules: {
    /** Send the messages of overdue records again; seal groups whose pieces have waited long enough. */
    sweep: {
      everySeconds: 60,
      run: {
        timeout: 55,
        memory: 1024,
        uses: {
          tables: { piece: 'write', group: 'write', aggregate: 'write', translation: 'write' },
          queues: ['piece', 'seal', 'include', 'deal', 'translate'],
        },
      },
    },
    /** Check what only this service can see: its peers, its sources, its own address. */
    check: checkSchedule({ tables: { health: 'write' } }),
  },
})
