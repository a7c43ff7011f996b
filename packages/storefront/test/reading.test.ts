import { queueFunction } from '@w3filecoin/aws'
import { someContent } from '@w3filecoin/testing'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { UNCLAIMED_MS } from '../src/content/read.ts'
import { SLOTS_PER_OWNER } from '../src/domain/reading.ts'
import { insertPiece, recordOf, startStorefront, trickle, type World } from './simulated.ts'

/** Contents are read by the runs of the queue `submit`, as many at once as the queue has, in the time of one world. */

afterEach(() => void vi.restoreAllMocks())

const SECOND = 1000
const MINUTE = 60 * SECOND
/** Bytes that arrive in a second: as slow as can be without being too slow, and too slow. */
const SLOW = 80_000
const TOO_SLOW = 1

/** Starts a storefront whose `submit` messages are consumed. The contents in `fast` are there; all others are slow. */
const start = (bytesPerSecond = SLOW) => {
  const fast = new Map<string, Uint8Array>()
  /** The reads that have not ended, and all contents that were ever opened. */
  const open = new Set<{ content: string; since: number }>()
  const opened = new Set<string>()
  const storefront = startStorefront(async function* (world, content) {
    const read = { content, since: world.now() }
    open.add(read)
    opened.add(content)
    try {
      const bytes = fast.get(content)
      if (bytes) yield bytes
      else yield* trickle(world, bytesPerSecond)
    } finally {
      open.delete(read)
    }
  })
  const { queues, service } = storefront
  queues.submit!.consume(queueFunction(service.consumers.submit!, () => {}))
  /** The reads that have taken longer than contents without a claim may. */
  const longReads = () =>
    [...open].filter(({ since }) => storefront.world.now() - since > UNCLAIMED_MS + SECOND)
  return { ...storefront, fast, opened, longReads }
}

/** Inserts an offered piece and sends its message. */
const offer = async (storefront: World, name: string, more: Parameters<typeof insertPiece>[3] = {}) => {
  const message = await insertPiece(storefront, name, 'offered', more)
  storefront.queues.submit!.deliver(message)
  return message
}

/** Runs the world for some time, with a sweep each minute. */
const runFor = async ({ world, service }: World, milliseconds: number) => {
  const end = world.now() + milliseconds
  for (let at = MINUTE; at <= milliseconds; at += MINUTE)
    world.timeline.after(at, () => void service.schedules.sweep!())
  let isOver = false
  world.timeline.at(end, () => {
    isOver = true
  })
  await world.timeline.run(() => isOver)
}

describe('B3: content', () => {
  it.each<[string, string | undefined]>([
    ['spaces without a provider, which share one allowance', undefined],
    ['one listed space', 'did:key:zSlow'],
  ])('is submitted within 60 s beside 50 slow contents of %s', async (_, space) => {
    const storefront = start()
    const { world, seed, fast, longReads } = storefront
    for (const listed of ['did:key:zSlow', 'did:key:zHonest'])
      seed('space', { space: listed, provider: 'did:web:provider.test', revision: 1 })
    for (let n = 0; n < 50; n++) await offer(storefront, `slow ${n}`, { space: space ?? `did:key:z${n}` })
    await runFor(storefront, 2 * MINUTE)
    expect(longReads()).toHaveLength(SLOTS_PER_OWNER)

    const { bytes, content, piece } = await someContent('honest')
    fast.set(`${content}`, bytes)
    const message = await offer(storefront, 'honest', { piece: `${piece}`, space: 'did:key:zHonest' })
    const offeredAt = world.now()
    await runFor(storefront, MINUTE)
    const record = await recordOf(storefront, message)
    expect(record?.history.at(-1)).toMatchObject({ stage: 'submitted' })
    expect(record!.history.at(-1)!.at - offeredAt).toBeLessThan(MINUTE)
  })

  it('of one owner gets its turn, however many there are', async () => {
    const storefront = start(TOO_SLOW)
    const { opened } = storefront
    for (let n = 0; n < 50; n++) await offer(storefront, `many ${n}`)
    await runFor(storefront, 60 * MINUTE)
    expect(opened.size).toBe(50)
  })

  it('is read by one run from the first seconds on, whatever the nonces, and each of its workflows goes on', async () => {
    const storefront = start()
    const { fast, longReads } = storefront
    const { bytes, content, piece } = await someContent('shared')
    const nonces = ['1', '2', '3', '4', '5', '6', '7', '8']
    const ids = await Promise.all(
      nonces.map(nonce => offer(storefront, 'shared', { piece: `${piece}`, nonce })),
    )
    await runFor(storefront, 30 * SECOND)
    expect(longReads()).toHaveLength(1)
    fast.set(`${content}`, bytes)
    await runFor(storefront, 60 * MINUTE)
    for (const id of ids) expect(await recordOf(storefront, id)).toMatchObject({ stage: 'submitted' })
  })

  it('is read again soon if the run that read it was killed', async () => {
    const storefront = start()
    const { world, fast, service } = storefront
    const { bytes, content, piece } = await someContent('killed')
    const message = await insertPiece(storefront, 'killed', 'offered', { piece: `${piece}` })
    void world.execute({ name: 'submit', seconds: 5 }, () => service.consumers.submit!.handle([message]))
    await runFor(storefront, 10 * SECOND)
    fast.set(`${content}`, bytes)
    await runFor(storefront, 4 * MINUTE)
    expect(await recordOf(storefront, message)).toMatchObject({ stage: 'submitted' })
  })
})
