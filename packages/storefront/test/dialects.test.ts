import type { Receipt } from '@ucanto/interface'
import {
  Draft2,
  type Failure,
  failure,
  type PieceLink,
  type Place,
  type Task,
} from '@w3filecoin/capabilities'
import { buildAggregate } from '@w3filecoin/piece'
import { issueReceipt, type Outcome } from '@w3filecoin/runtime'
import { ask, effectsOf, somePiece } from '@w3filecoin/testing'
import { expect, it } from 'vitest'
import { createStorefront } from '../src/index.ts'
import {
  aggregator,
  aws,
  clock,
  dependencies,
  GROUP,
  offer,
  recordOf,
  state,
  storefront,
  timing,
  uploadContent,
} from './setup.ts'

/** What an aggregator that understands only draft 2 answers to an offer, and the outcome of the task that it promises. */
interface Answers {
  refusal?: Failure
  outcome?: (piece: PieceLink) => Outcome['out']
  /** The kinds of places that the storefront accepts. */
  placeTypes?: Place['type'][]
}

/** Runs a service whose aggregator understands only draft 2. */
const withDraft2 = ({
  refusal,
  outcome,
  placeTypes = dependencies.placeTypes as Place['type'][],
}: Answers) => {
  const outcomes = new Map<string, Receipt>()
  const execute = (tasks: readonly Task[]) =>
    Promise.all(
      tasks.map(async task => {
        const { can, nb } = task.capabilities[0] as unknown as { can: string; nb: { piece: PieceLink } }
        expect([can, nb]).toEqual([
          'aggregate/add',
          { piece: nb.piece, group: GROUP, storefront: storefront.did() },
        ])
        if (refusal) return { ok: await issueReceipt(aggregator, task, { out: { error: refusal } }) }
        const own = await Draft2.aggregateAddTask(aggregator, aggregator, nb as never)
        if (outcome)
          outcomes.set(`${own.cid}`, await issueReceipt(aggregator, own, { out: outcome(nb.piece) }))
        return {
          ok: await issueReceipt(aggregator, task, { out: { ok: { piece: nb.piece } }, fx: { join: own } }),
        }
      }),
    )
  const service = createStorefront({
    ...dependencies,
    placeTypes,
    aggregator: Object.create(dependencies.aggregator, {
      speaks: { value: ['draft-2'] },
      reachable: { value: true },
      execute: { value: execute },
      receipts: {
        value: async (tasks: string[]) =>
          new Map(tasks.flatMap(task => (outcomes.has(task) ? [[task, outcomes.get(task)]] : []))),
      },
    }),
  })
  const settle = () => aws.settle(service.consumers)
  const sweepAfter = async (milliseconds: number) => {
    clock.now += milliseconds
    await service.schedules.sweep!()
    await settle()
  }
  return { service, settle, sweepAfter }
}

/** Offers new content in the protocol, and returns the end of its workflow. */
const endOf = async (seed: string, answers: Answers) => {
  const { service, settle, sweepAfter } = withDraft2(answers)
  const content = await uploadContent(seed)
  const offered = await ask(service.api, await offer(content))
  await settle()
  for (let n = 0; n < 3; n++) await sweepAfter(timing.pollMs + timing.retryMs)
  const end = await dependencies.stores.receipts.get(effectsOf(offered).join!)
  return { content, end, record: await recordOf(content) }
}

it('L6: an aggregate that the aggregator names without an inclusion proof ends the piece with ProofNotFound, which says so', async () => {
  const aggregate = somePiece('without proof', 10)
  const { content, end } = await endOf('no proof', {
    outcome: piece => ({ ok: { piece, aggregate, path: 'some/path' } }),
  })
  expect(end?.out.error).toEqual({
    name: 'ProofNotFound',
    message: `${aggregator.did()} reports that ${content.piece} is in the aggregate ${aggregate}, without an inclusion proof. Only \`inclusion\` in the receipt proves it`,
  })
})

it('L6: a proof in the receipt leads to the deal that the deal tracker reports', async () => {
  const { content, end, record } = await endOf('with proof', {
    outcome: piece => {
      const built = buildAggregate({ pieces: [piece, somePiece('beside', 5)], size: 2 ** 20 }).ok!
      const at = built.pieces.findIndex(other => `${other}` === `${piece}`)
      return { ok: { piece, aggregate: built.link, inclusion: built.proof(at) } }
    },
  })
  expect(end?.out.ok).toMatchObject({ piece: content.piece, aux: { dataSource: { dealID: 42 } } })
  expect(record?.stage).toBe('accepted')
})

it('L6: a place other than a deal ends a piece too, unless the settings of the storefront allow deals only', async () => {
  const place = { type: 'sector', key: 'sector:f01001/77', provider: 'f01001', status: 'Active', epoch: 90 }
  Object.assign(state, { deals: {}, tracked: { places: [place] } })
  const outcome = (piece: PieceLink) => {
    const built = buildAggregate({ pieces: [piece], size: 2 ** 20 }).ok!
    return { ok: { piece, aggregate: built.link, inclusion: built.proof(0) } }
  }
  const strict = await endOf('deals only', { outcome, placeTypes: ['market'] })
  expect(strict.end).toBeUndefined()
  expect(strict.record?.stage).toBe('aggregated')
  const dataSource = { network: 'fil:f', miner: 'f01001', sector: 77, epoch: 90 }
  expect((await endOf('in a sector', { outcome })).end?.out.ok).toMatchObject({
    aux: { dataType: 1, dataSource },
  })
})

it('L6: an invalid proof decides nothing', async () => {
  const { end, record } = await endOf('wrong proof', {
    outcome: piece => {
      const built = buildAggregate({ pieces: [somePiece('other', 5), somePiece('beside', 5)], size: 2 ** 20 })
        .ok!
      return { ok: { piece, aggregate: built.link, inclusion: built.proof(0) } }
    },
  })
  expect(end).toBeUndefined()
  expect(record?.stage).toBe('queued')
})

it.each([
  ['the receipt of the promised task', { outcome: () => ({ error: failure('InvaildPieceCID', 'no') }) }],
  ['the answer to the offer', { refusal: failure('InvaildPieceCID', 'no') }],
])('L6: a piece that is refused in %s ends with InvalidContentPiece', async (where, answers) => {
  const { content, end } = await endOf(`refused in ${where}`, answers)
  expect(end?.out.error).toMatchObject({ name: 'InvalidContentPiece', message: 'no' })
  expect(`${(end?.out.error as { content?: unknown } | undefined)?.content}`).toBe(`${content.content}`)
})
