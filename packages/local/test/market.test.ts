import { readFileSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { zstdDecompressSync } from 'node:zlib'
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import { CreateQueueCommand, PurgeQueueCommand, ReceiveMessageCommand } from '@aws-sdk/client-sqs'
import { buildAggregate, fromV1, pieceOf } from '@w3filecoin/piece'
import { UserError } from '@w3filecoin/runtime/user-error'
import { CID } from 'multiformats/cid'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { s3Client, sqsClient, startEngines } from '../src/engines.ts'
import { listen } from '../src/listen.ts'
import { LogFile } from '../src/log-file.ts'
import { type activeReplicas, openMarket } from '../src/market.ts'
import { type S3, startS3 } from '../src/s3.ts'
import { temporaryDirectory } from './echo/index.ts'
import { eventually } from './eventually.ts'

describe('the stand-in for storage providers and the chain', () => {
  let directory: ReturnType<typeof temporaryDirectory>
  let engine: S3
  let s3: S3Client
  const running: { stop(): Promise<void> }[] = []

  beforeEach(async () => {
    directory = temporaryDirectory()
    engine = await startS3(`${directory.path}/s3`)
    s3 = new S3Client({
      region: 'us-east-1',
      endpoint: `http://127.0.0.1:${engine.port}`,
      forcePathStyle: true,
      credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    })
  })
  afterEach(async () => {
    for (const part of running.splice(0)) await part.stop()
    await engine.stop()
    directory[Symbol.dispose]()
  })

  const open = async (storefronts?: ReadonlyMap<string, string>) => {
    const data = directory.path
    const market = await openMarket({ port: 0, log: new LogFile(data, 'market') })
    running.push(market)
    await market.start({
      engines: { s3: `http://127.0.0.1:${engine.port}`, sqs: 'http://127.0.0.1:1' },
      data,
      dealDelayMs: 0,
      faulty: [],
      ...(storefronts && { storefronts }),
    })
    return market
  }
  const offer = (name: string, document: object) =>
    s3.send(
      new PutObjectCommand({
        Bucket: 'dealer-offers',
        Key: `${name}.json`,
        Body: JSON.stringify(document),
      }),
    )
  const deals = async (url: string) => {
    const response = await fetch(url)
    const file = zstdDecompressSync(await response.arrayBuffer())
    return JSON.parse(file.toString()) as ReturnType<typeof activeReplicas>
  }

  it('makes a deal for every offered aggregate, and publishes it with its piece CID v1', async () => {
    const { link: aggregate } = await pieceOf([Buffer.alloc(127, 1)])
    const market = await open()
    expect(await deals(market.activeReplicas)).toMatchObject({ active_replicas: [] })
    await s3.send(new CreateBucketCommand({ Bucket: 'dealer-offers' }))
    await offer('broken', { aggregate: 'not a CID' })
    await offer('first', { aggregate: `${aggregate}`, pieces: [], tenant: 'did:web:storefront.test' })
    const { state_epoch, active_replicas } = await eventually('a deal', async () => {
      const published = await deals(market.activeReplicas)
      return published.active_replicas.length > 0 && published
    })
    expect(active_replicas).toHaveLength(1)
    const [{ contracts, piece_cid, piece_log2_size }] = active_replicas as [(typeof active_replicas)[0]]
    expect(piece_cid).toMatch(/^baga6ea4seaq/)
    expect(`${fromV1(CID.parse(piece_cid), piece_log2_size).ok}`).toBe(`${aggregate}`)
    expect(contracts).toEqual([
      {
        provider_id: 1001,
        legacy_market_id: 100_001,
        legacy_market_end_epoch: expect.any(Number),
        label: 'first.json',
      },
    ])
    // About 540 days, in epochs of 30 s.
    expect(contracts[0]!.legacy_market_end_epoch - state_epoch).toBeCloseTo(540 * 2880, -2)
  })

  it('A4: makes a deal for every offer document of an aggregate, whose label is the name of the document', async () => {
    await s3.send(new CreateBucketCommand({ Bucket: 'dealer-offers' }))
    const aggregate = `${(await pieceOf([Buffer.alloc(127, 1)])).link}`
    const names = ['a', 'b'].map(letter => `${aggregate}/${letter.repeat(43)}`)
    const market = await open()
    for (const name of names) await offer(name, { aggregate, pieces: [] })
    const [published] = await eventually('two deals', async () => {
      const { active_replicas } = await deals(market.activeReplicas)
      return active_replicas[0]?.contracts.length === 2 && active_replicas
    })
    expect(published!.contracts).toMatchObject([
      { legacy_market_id: 100_001, label: `${names[0]}.json` },
      { legacy_market_id: 100_002, label: `${names[1]}.json` },
    ])
  })

  describe('with the address of the pieces', () => {
    const contents = new Map<string, Uint8Array>()
    let status = 200
    let source: string
    let bodies: Server
    beforeEach(async () => {
      status = 200
      contents.clear()
      bodies = createServer(({ url }, response) => {
        const bytes = contents.get(url!.split('/').at(-1)!)
        response.writeHead(bytes ? status : 404).end(status === 200 ? bytes : undefined)
      })
      source = `http://127.0.0.1:${await listen(bodies, 0)}/piece/{piece}`
      await s3.send(new CreateBucketCommand({ Bucket: 'dealer-offers' }))
    })
    afterEach(() => void bodies.close())

    const order = async () => {
      const pieces = await Promise.all(
        [1, 2, 3].map(async fill => {
          const bytes = Buffer.alloc(1000 * fill, fill)
          const { link } = await pieceOf([bytes])
          contents.set(`${link}`, bytes)
          return link
        }),
      )
      const { ok } = buildAggregate({ pieces, size: 2 ** 20 })
      return { aggregate: `${ok!.link}`, pieces: ok!.pieces.map(piece => `${piece}`), source }
    }
    const log = () => readFileSync(`${directory.path}/logs/market.log`, 'utf8')
    const refusal = () =>
      eventually('a refusal', async () => {
        const line = log()
          .split('\n')
          .find(line => line.includes('"no deal"'))
        return line && (JSON.parse(line) as { faults: string[]; message: string; reasons: string[] })
      })

    it('fetches every piece, and makes a deal if the bytes make the aggregate', async () => {
      const market = await open()
      await offer('right', await order())
      await eventually(
        'a deal',
        async () => (await deals(market.activeReplicas)).active_replicas.length === 1,
      )
    })

    it('refuses an aggregate with a piece that has other bytes, and names it', async () => {
      const ordered = await order()
      contents.set(ordered.pieces[1]!, Buffer.alloc(1000, 9))
      await open()
      await offer('wrong', ordered)
      const { link } = await pieceOf([Buffer.alloc(1000, 9)])
      expect(await refusal()).toMatchObject({
        faults: [ordered.pieces[1]],
        reasons: [`Its bytes have the piece CID ${link}`],
      })
    })

    it('refuses an aggregate with a piece that is not there, and one that the pieces do not make', async () => {
      const ordered = await order()
      contents.delete(ordered.pieces[0]!)
      await open()
      await offer('missing', ordered)
      expect(await refusal()).toMatchObject({
        faults: [ordered.pieces[0]],
        reasons: [expect.stringContaining('answered 404')],
      })
      const other = await order()
      await offer('other', { ...other, pieces: other.pieces.toReversed() })
      await eventually('a second refusal', async () =>
        log().includes('The bytes of its pieces make the aggregate'),
      )
    })

    it('fetches at the present address of a storefront, whatever the document says', async () => {
      const moved = { ...(await order()), tenant: 'did:web:storefront.test' }
      const market = await open(new Map([[moved.tenant, new URL(source).origin]]))
      await offer('moved', { ...moved, source: 'http://127.0.0.1:1/piece/{piece}' })
      await eventually(
        'a deal',
        async () => (await deals(market.activeReplicas)).active_replicas.length === 1,
      )
    })

    it('fetches again later what it cannot fetch now', async () => {
      status = 429
      const market = await open()
      await offer('later', await order())
      await sleep(1500)
      expect((await deals(market.activeReplicas)).active_replicas).toEqual([])
      status = 200
      await eventually(
        'a deal',
        async () => (await deals(market.activeReplicas)).active_replicas.length === 1,
      )
      expect(log()).not.toContain('"no deal"')
    })
  })

  it.each([
    ['no JSON', '{'],
    ['no list', '{"offer":"a.json"}'],
    ['a list of other values', '[null]'],
    ['an entry without an outcome', '[{"offer":"a.json"}]'],
    ['a deal of no piece', '[{"offer":"a.json","aggregate":"baga","dealID":1,"provider":1,"endEpoch":1}]'],
  ])('does not start on a book of deals that is damaged, and names the file: %s', async (_, text) => {
    const book = `${directory.path}/market.json`
    writeFileSync(book, text)
    const start = open()
    await expect(start).rejects.toBeInstanceOf(UserError)
    await expect(start).rejects.toThrow(
      `${book}, which holds the deals of this system, is not valid. Restore it, or remove ${directory.path} to start from scratch.`,
    )
  })

  it('keeps its deals after a restart, and continues their numbers', async () => {
    await s3.send(new CreateBucketCommand({ Bucket: 'dealer-offers' }))
    const first = await open()
    await offer('a', {
      aggregate: `${(await pieceOf([Buffer.alloc(127, 1)])).link}`,
      pieces: [],
    })
    const dealIDs = async (url: string) =>
      (await deals(url)).active_replicas.flatMap(({ contracts }) =>
        contracts.map(({ legacy_market_id }) => legacy_market_id),
      )
    await eventually('a deal', async () => (await dealIDs(first.activeReplicas)).length === 1)
    await running.pop()!.stop()

    const second = await open()
    await offer('b', {
      aggregate: `${(await pieceOf([Buffer.alloc(127, 2)])).link}`,
      pieces: [],
    })
    await eventually('another', async () => (await dealIDs(second.activeReplicas)).length === 2)
    expect(await dealIDs(second.activeReplicas)).toEqual([100_001, 100_002])
  })

  it('reports aggregates without a deal again after each start, because the queue may be lost', async () => {
    const data = directory.path
    await using running = new AsyncDisposableStack()
    const log = running.adopt(new LogFile(data, 'engines'), file => file.close())
    const onCrash = (error: Error) => expect.unreachable(error.message)
    const engines = running.adopt(await startEngines({ data, tables: 'sqlite', log, onCrash }), engines =>
      engines.stop(),
    )
    const sqs = sqsClient(engines)
    const s3 = s3Client(engines)
    const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: 'dealer-report' }))
    await s3.send(new CreateBucketCommand({ Bucket: 'dealer-offers' }))
    const { link: aggregate } = await pieceOf([Buffer.alloc(127, 1)])
    const { link: piece } = await pieceOf([Buffer.alloc(127, 2)])
    await s3.send(
      new PutObjectCommand({
        Bucket: 'dealer-offers',
        Key: 'a.json',
        Body: JSON.stringify({ aggregate: `${aggregate}`, pieces: [`${piece}`] }),
      }),
    )
    const reports = async () => {
      const market = await openMarket({ port: 0, log })
      await market.start({ engines, data, dealDelayMs: 0, faulty: [`${piece}`] })
      const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 5 }))
      await market.stop()
      return Messages.map(({ Body }) => JSON.parse(Body!))
    }
    const expected = [{ offer: 'a.json', invalid: [{ piece: `${piece}` }] }]
    expect(await reports()).toMatchObject(expected)
    await sqs.send(new PurgeQueueCommand({ QueueUrl }))
    expect(await reports()).toMatchObject(expected)
  })
})
