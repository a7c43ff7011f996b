import {
  COMMON_TABLES,
  checkSchedule,
  describeResources,
  TRANSLATION_TABLE,
} from '@w3filecoin/runtime/resources'

/** The tables, queues, buckets and functions of the storefront. The stacks and the local system create them from this. */
export const resources = describeResources({
  service: 'storefront',
  api: {
    timeout: 29,
    memory: 1024,
    uses: {
      tables: {
        revocation: 'write',
        piece: 'write',
        offer: 'write',
        task: 'write',
        inclusion: 'write',
        quota: 'write',
        aggregate: 'write',
        group: 'write',
        receipt: 'write',
        space: 'read',
        health: 'read',
        translation: 'write',
        upload: 'write',
        listener: 'write',
      },
      queues: ['submit', 'outcome', 'notify', 'translate'],
      // With the permission to write, it presigns the URLs of uploads.
      buckets: { blocks: 'write', content: 'read', uploads: 'write' },
    },
  },
  tables: {
    ...COMMON_TABLES,
    ...TRANSLATION_TABLE,
    /** Content pieces on their way to a deal: one per content, piece and nonce, and per group. */
    piece: {
      fields: {
        id: 'string',
        due: 'string',
        checkAt: 'number',
        piece: 'string',
        root: 'string',
        content: 'string',
        waitsFor: 'string',
        memberOf: 'string',
        queuedIn: 'string',
        queuedAt: 'number',
      },
      key: { hash: 'id' },
      indexes: {
        due: { hash: 'due', range: 'checkAt' },
        piece: { hash: 'piece', range: 'id' },
        root: { hash: 'root', range: 'id' },
        content: { hash: 'content', range: 'id' },
        waitsFor: { hash: 'waitsFor', range: 'id' },
        memberOf: { hash: 'memberOf', range: 'id' },
        queuedIn: { hash: 'queuedIn', range: 'queuedAt' },
      },
    },
    /** The offers of each space, with the group that it had at the first one. */
    offer: { fields: { owner: 'string', workflow: 'string' }, key: { hash: 'owner', range: 'workflow' } },
    /** The workflow of each promised task. */
    task: { fields: { task: 'string' }, key: { hash: 'task' } },
    /** The aggregates of each piece, with the proofs, the newest first. */
    inclusion: { fields: { piece: 'string', order: 'string' }, key: { hash: 'piece', range: 'order' } },
    /** The uploads that agents got an address for, each by its promised `http/put`. */
    upload: { fields: { task: 'string' }, key: { hash: 'task' }, expires: 'expiresAt', derived: true },
    /** Counts the workflows that spaces start, and their uploads, by day. */
    quota: {
      fields: { owner: 'string', day: 'string' },
      key: { hash: 'owner', range: 'day' },
      expires: 'expiresAt',
      derived: true,
    },
    /** The addresses that agents named for a receipt which they do not have yet; see `domain/listener.ts`. */
    listener: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
      expires: 'expiresAt',
    },
    /** Aggregates that contain pieces of this storefront, and their outcomes. */
    aggregate: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
    /** Groups whose queued pieces the aggregator is asked about. */
    group: {
      fields: { id: 'string', due: 'string', checkAt: 'number' },
      key: { hash: 'id' },
      indexes: { due: { hash: 'due', range: 'checkAt' } },
    },
    /** The contents that runs read now, and the slots in which each owner's contents are read; see `domain/reading.ts`. */
    reading: { fields: { id: 'string' }, key: { hash: 'id' }, expires: 'expiresAt', derived: true },
    /** The provider of each space, which becomes the group of its pieces. The operator fills it. */
    space: { fields: { space: 'string' }, key: { hash: 'space' } },
  },
  queues: {
    /** Read the contents of pieces, and check that they hash to the pieces. */
    submit: {
      batch: 10,
      concurrency: 50,
      attempts: 5,
      run: {
        timeout: 900,
        memory: 1769,
        uses: {
          tables: { piece: 'write', task: 'read', receipt: 'write', reading: 'write', space: 'read' },
          queues: ['submit', 'aggregation', 'notify', 'translate'],
          // It copies uploaded content into `content`.
          buckets: { blocks: 'write', content: 'write', uploads: 'read' },
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
        // If the aggregator hangs, a run waits for it six times: for the answer to all offers, then for 50 receipts of
        // retries, ten at a time. Each wait takes 25 s, and 10 s more if a host that serves keys hangs too.
        timeout: 240,
        memory: 1024,
        uses: {
          tables: { piece: 'write', task: 'read', group: 'write', receipt: 'write' },
          queues: ['notify'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Ask the aggregator whether queued pieces are in an aggregate. */
    poll: {
      batch: 1,
      concurrency: 5,
      attempts: 5,
      run: {
        // As for queue `aggregation`: 50 receipts, ten at a time.
        timeout: 240,
        memory: 1024,
        uses: {
          tables: {
            piece: 'write',
            task: 'read',
            inclusion: 'write',
            aggregate: 'write',
            group: 'write',
            receipt: 'write',
          },
          queues: ['poll', 'outcome', 'notify'],
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Issue the receipts of tasks that were promised in dialects, and send the offers that they promise. */
    translate: {
      batch: 50,
      window: 1,
      concurrency: 10,
      attempts: 5,
      run: {
        timeout: 120,
        memory: 1024,
        uses: {
          tables: { translation: 'write', piece: 'read', receipt: 'write' },
          buckets: { blocks: 'write' },
        },
      },
    },
    /** Deliver receipts to addresses that agents named. */
    notify: {
      batch: 10,
      concurrency: 10,
      attempts: 5,
      run: {
        // An address has 10 s to answer, and all of a batch are called at the same time.
        timeout: 60,
        memory: 1024,
        uses: {
          tables: { listener: 'write', receipt: 'read' },
          buckets: { blocks: 'read' },
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
          tables: {
            piece: 'write',
            task: 'read',
            inclusion: 'read',
            aggregate: 'write',
            receipt: 'write',
          },
          queues: ['aggregation', 'outcome', 'notify'],
          buckets: { blocks: 'write' },
        },
      },
    },
  },
  buckets: {
    blocks: {
      holds: 'large receipts, and the verdicts on the pieces of failed aggregates, by CID',
      webMethods: ['GET', 'HEAD'],
    },
    content: { holds: 'the content that agents offer, by CID', webMethods: ['GET', 'HEAD', 'PUT'] },
    /**
     * Content that was uploaded with a presigned URL. It is copied to `content` when it is found to hash to an offered piece.
     */
    uploads: { holds: 'the content that agents upload, by CID', webMethods: ['PUT'], keepDays: 7 },
  },
  schedules: {
    /** Send the messages of overdue records again. */
    sweep: {
      everySeconds: 60,
      run: {
        timeout: 55,
        memory: 1024,
        uses: {
          tables: {
            piece: 'write',
            group: 'write',
            aggregate: 'write',
            translation: 'write',
            listener: 'write',
          },
          queues: ['submit', 'aggregation', 'poll', 'outcome', 'notify', 'translate'],
        },
      },
    },
    /** Check what only this service can see: its peers, its sources, its own address. */
    check: checkSchedule({ tables: { health: 'write' } }),
  },
})
