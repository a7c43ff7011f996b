import {
  COMMON_TABLES,
  checkSchedule,
  describeResources,
  PEER_TABLE,
  TRANSLATION_TABLE,
} from '@w3filecoin/runtime/resources'

/** The dealer's tables, queues, buckets and schedules. The stacks and the local system create them from this. */
export const resources = describeResources({
  service: 'dealer',
  api: {
    timeout: 29,
    memory: 1769,
    uses: {
      tables: {
        revocation: 'write',
        aggregate: 'write',
        receipt: 'write',
        translation: 'write',
        peer: 'read',
        whole: 'read',
        order: 'write',
      },
      queues: ['retry', 'translate', 'order', 'report'],
      buckets: { blocks: 'write', offers: 'write', wholes: 'read' },
    },
  },
  tables: {
    ...COMMON_TABLES,
    ...TRANSLATION_TABLE,
    ...PEER_TABLE,
    /**
     * An aggregate that deals are made for: one offer of it. The index `aggregate` finds all offers of an aggregate, and `open` those
     * that need a deal, because only they have an `openKey`.
     */
    aggregate: {
      fields: {
        id: 'string',
        due: 'string',
        checkAt: 'number',
        aggregate: 'string',
        offeredAt: 'number',
        stage: 'string',
        openKey: 'string',
      },
      key: { hash: 'id' },
      indexes: {
        due: { hash: 'due', range: 'checkAt' },
        aggregate: { hash: 'aggregate', range: 'offeredAt' },
        open: { hash: 'stage', range: 'openKey' },
      },
    },
    /** The offer that each deal is credited to. */
    credit: { fields: { deal: 'string' }, key: { hash: 'deal' } },
    /**
     * An order of one copy of an aggregate. The index `inFlight` finds those that a target is storing, the index `needs` those that an
     * operator must decide.
     */
    order: {
      fields: {
        offer: 'string',
        order: 'string',
        due: 'string',
        checkAt: 'number',
        inFlightAt: 'string',
        createdAt: 'number',
        needs: 'string',
        stuckAt: 'number',
      },
      key: { hash: 'offer', range: 'order' },
      indexes: {
        due: { hash: 'due', range: 'checkAt' },
        inFlight: { hash: 'inFlightAt', range: 'createdAt' },
        needs: { hash: 'needs', range: 'stuckAt' },
      },
    },
    /** A target that takes no orders now. */
    target: { fields: { name: 'string' }, key: { hash: 'name' } },
    /** The payload of an aggregate as one object. */
    whole: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
    /** A part of such an object that is written. */
    part: {
      fields: { upload: 'string', part: 'string' },
      key: { hash: 'upload', range: 'part' },
      expires: 'expiresAt',
      derived: true,
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
          tables: { aggregate: 'write', credit: 'write', receipt: 'write', peer: 'read', order: 'write' },
          queues: ['report', 'retry', 'conclude', 'translate', 'order'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Fail an aggregate that gets no deal. Deal making sends to this queue, and so does `track`. */
    report: {
      batch: 1,
      concurrency: 2,
      attempts: 5,
      run: {
        timeout: 300,
        memory: 3008,
        uses: {
          tables: { aggregate: 'write', receipt: 'write', peer: 'read' },
          queues: ['retry', 'order', 'conclude', 'translate'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Offer a range of a failed aggregate's pieces to the aggregator again. */
    retry: {
      batch: 1,
      concurrency: 10,
      attempts: 5,
      run: {
        // Eight HTTP messages to the aggregator, one after the other. Each may take 25 seconds, and 10 more if a host
        // must be asked for keys.
        timeout: 300,
        memory: 1024,
        uses: { tables: { aggregate: 'write', peer: 'read' }, buckets: { blocks: 'read' } },
      },
    },
    /** Order copies of an aggregate from storage providers, and follow the orders. */
    order: {
      batch: 1,
      concurrency: 10,
      attempts: 5,
      run: {
        timeout: 300,
        memory: 1024,
        uses: {
          tables: { aggregate: 'write', order: 'write', credit: 'write', target: 'write', whole: 'write' },
          queues: ['order', 'fill', 'track', 'report'],
          buckets: { wholes: 'write' },
        },
      },
    },
    /** Write the payload of an aggregate, a part in each run. */
    fill: {
      batch: 1,
      concurrency: 20,
      attempts: 5,
      run: {
        timeout: 600,
        // A part of 64 MiB is in memory, and hashed.
        memory: 1769,
        uses: {
          tables: { whole: 'write', part: 'write', aggregate: 'read', order: 'read' },
          queues: ['fill', 'order'],
          buckets: { blocks: 'read', wholes: 'write' },
        },
      },
    },
    /** Issue the receipts of tasks that were promised in dialects. */
    translate: {
      batch: 1,
      concurrency: 5,
      attempts: 5,
      run: {
        timeout: 300,
        // The receipt of a failed aggregate may contain a task for each of 95,000 pieces.
        memory: 3008,
        uses: {
          tables: { translation: 'write', receipt: 'write' },
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Send receipts to the aggregators that wait for them. */
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
    blocks: { holds: 'the pieces of aggregates, and large receipts, by CID', webMethods: ['GET', 'HEAD'] },
    offers: { holds: 'the offer documents that deal making reads' },
    wholes: { holds: 'the payloads of aggregates, until their copies are live', uploadDays: 3 },
  },
  schedules: {
    /** Send the messages of overdue aggregates again. */
    sweep: {
      everySeconds: 60,
      run: {
        timeout: 55,
        memory: 1024,
        uses: {
          tables: { aggregate: 'write', translation: 'write', order: 'write', whole: 'write' },
          queues: ['track', 'retry', 'translate', 'order', 'fill'],
        },
      },
    },
    /** Check what only this service can see: its peers, its targets, its own address, and which orders and copies need an operator. */
    check: checkSchedule({ tables: { health: 'write', order: 'read', aggregate: 'read' } }),
  },
})
