import type { Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import type { FilecoinInfoSuccess, Stage } from '@w3filecoin/capabilities'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { type StageEvent, Storefront, W3Error } from '../src/index.ts'
import { createWorld } from './world.ts'

/** A storefront that answers `info` by itself. */
class ScriptedStorefront extends Storefront {
  /** Times of the questions, in milliseconds. */
  readonly asked: number[] = []
  answer: () => { stages: Stage[]; waitsFor?: string } = () => ({ stages: ['offered'] })

  override async info(): Promise<FilecoinInfoSuccess> {
    this.asked.push(Date.now())
    const { stages, waitsFor } = this.answer()
    const history = stages.map((stage, n) => ({ stage, at: `2027-01-01T00:00:0${n}.000Z` }))
    const { stage, at: since } = history.at(-1)!
    return { task: { stage, since, history, waitsFor } } as unknown as FilecoinInfoSuccess
  }
}

describe('watch', () => {
  let storefront: ScriptedStorefront
  let offered: Awaited<ReturnType<typeof createWorld>>['offered'] & { accept: string }

  beforeEach(async () => {
    const signer = (await ed25519.generate()) as Signer
    const opened = { url: 'http://127.0.0.1/', about: {}, party: signer.did(), signer, options: {} }
    storefront = new ScriptedStorefront(opened)
    offered = { ...(await createWorld()).offered, accept: 'bafyreif' }
    vi.useFakeTimers({ now: 0 })
  })
  afterEach(() => void vi.useRealTimers())

  /** Runs a watch for some time, and returns its events. */
  const run = async (ms: number, options: Parameters<Storefront['watch']>[1] = {}) => {
    const events: StageEvent[] = []
    const ended = (async () => {
      for await (const event of storefront.watch(offered, options)) events.push(event)
      return 'ended'
    })()
    ended.catch(() => {})
    await vi.advanceTimersByTimeAsync(ms)
    return { events, ended }
  }
  const pauses = () => storefront.asked.slice(1).map((at, n) => at - storefront.asked[n]!)

  it('yields every stage once, also those between two questions, and ends at the last one', async () => {
    const answers: Stage[][] = [
      ['offered'],
      ['offered'],
      ['offered', 'submitted', 'queued'],
      ['offered', 'submitted', 'queued', 'aggregated', 'retried', 'queued', 'aggregated', 'accepted'],
    ]
    storefront.answer = () => ({ stages: answers[Math.min(storefront.asked.length - 1, 3)]! })
    const { events, ended } = await run(60_000)
    expect(await ended).toBe('ended')
    expect(events.map(({ stage }) => stage)).toEqual(answers[3])
    expect(storefront.asked).toHaveLength(4)
  })

  it('asks at growing intervals up to 30 seconds, and sooner again after a new stage', async () => {
    let stages: Stage[] = ['offered']
    storefront.answer = () => ({ stages })
    await run(600_000)
    const waited = pauses()
    expect(waited[0]).toBeLessThan(500)
    expect(Math.max(...waited)).toBeLessThanOrEqual(30_000)
    expect(Math.min(...waited.slice(-5))).toBeGreaterThan(20_000)
    stages = ['offered', 'submitted']
    const known = storefront.asked.length
    await vi.advanceTimersByTimeAsync(40_000)
    expect(pauses().slice(known)[0]).toBeLessThan(500)
  })

  it('yields a stage again when it waits for something else', async () => {
    storefront.answer = () => ({
      stages: ['queued'],
      waitsFor: storefront.asked.length < 3 ? '0 % full' : '90 % full',
    })
    const { events } = await run(5_000)
    expect(events.map(({ waitsFor }) => waitsFor)).toEqual(['0 % full', '90 % full'])
  })

  it('waits while the storefront is unreachable, as long as it asks for', async () => {
    storefront.answer = () => {
      if (storefront.asked.length === 2)
        throw new W3Error('Unreachable', 'it answered 503', { retryAfterMs: 90_000 })
      return { stages: storefront.asked.length < 3 ? ['offered'] : ['offered', 'accepted'] }
    }
    const onRetry = vi.fn()
    const { events, ended } = await run(100_000, { onRetry })
    expect(await ended).toBe('ended')
    expect(events.map(({ stage }) => stage)).toEqual(['offered', 'accepted'])
    expect(pauses()[1]).toBe(90_000)
    expect(onRetry).toHaveBeenCalledWith({
      type: 'retry',
      attempt: 2,
      pauseMs: 90_000,
      reason: 'it answered 503',
    })
  })

  it('ends with other errors, and with the reason of its signal', async () => {
    const controller = new AbortController()
    const reason = new Error('the user left')
    const { ended } = await run(1_000, { signal: controller.signal })
    controller.abort(reason)
    await expect(ended).rejects.toBe(reason)
    storefront.answer = () => {
      throw new W3Error('TaskNotFound', 'No offer promised it')
    }
    await expect((await run(1_000)).ended).rejects.toMatchObject({ code: 'TaskNotFound' })
  })
})
