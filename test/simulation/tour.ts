import { code as CBOR, encode } from '@ipld/dag-cbor'
import type { Signer } from '@ucanto/interface'
import {
  aggregateList,
  dealReport,
  failure,
  type PieceLink,
  parsePieceLink,
  revoke,
  spaceBlobAdd,
  Tasks,
} from '@w3filecoin/capabilities'
import { buildAggregate } from '@w3filecoin/piece'
import {
  dueAt,
  encodeMessage,
  issueReceipt,
  principal,
  type Row,
  type Stored,
  unpackTask,
} from '@w3filecoin/runtime'
import { tables as storefrontTables } from '@w3filecoin/storefront'
import { linkOf, someContent, somePiece } from '@w3filecoin/testing'
import { Choices, type DeterministicWorld, type Faults, NONE } from '@w3filecoin/testing/deterministic'
import { plannedCourse } from './crash-points.ts'
import { receiptsOf } from './receipts.ts'
import { delegate, invocationOf, type Offer, otherThan, questionOf } from './scenario.ts'
import type { Simulated, System } from './services.ts'
import { type Course, type Report, simulate } from './simulate.ts'

const SEED = 1
const MINUTE = 60_000
const HOUR = 60 * MINUTE

/**
 * A tour on which the functions of all services do everything that they may do. It is the planned journey with visitors who
 * ask and revoke, content that no aggregate can hold, an aggregate with an invalid piece, an aggregate that is offered again
 * after its end, an address that is named after the end, receipts that do not arrive, refuse a piece, or arrive without their effects, lost messages, and a run that is killed between a receipt and its record.
 */
export const tour = async (): Promise<Report> => {
  const { report } = await simulate(SEED, new Choices(SEED), await course())
  return report
}

const course = async (): Promise<Course> => {
  const planned = plannedCourse()
  const { offers } = planned.scenario
  const [first, , , alone] = offers as [Offer, Offer, Offer, Offer]
  const content = await someContent('too large for an aggregate', 40_000)
  // While one workflow reads content that hangs, another one of the same content is sent back to the queue.
  const hanging = await someContent('content that hangs')
  const hangs = [undefined, 'nonce'].map(
    (nonce): Offer => ({
      ...first,
      content: hanging,
      piece: hanging.piece,
      nonce,
      hangs: true,
      expected: 'ContentNotFound',
    }),
  )
  const tooLarge: Offer = { ...first, content, piece: content.piece, expected: 'InvalidContentPiece' }
  return {
    ...planned,
    scenario: { ...planned.scenario, offers: [...offers, tooLarge, ...hangs] },
    healsAt: 40 * HOUR,
    // Receipts do not arrive, and are fetched later.
    outages: [
      { service: 'storefront', from: HOUR / 10, to: 12 * HOUR, hangs: false },
      { service: 'storefront', from: 16 * HOUR, to: 60 * HOUR, hangs: false },
    ],
    market: {
      ...planned.market,
      refusals: 1,
      contradictions: 1,
      changeOfMind: [2 * HOUR, 20 * HOUR],
    },
    missingContent: 'refuse',
    visit: (world, system) => {
      world.faults = faultsOf(world, system)
      scheduleVisits(world, system, alone)
    },
  }
}

/**
 * - The list of pending pieces refuses writes for 11 minutes, so the sweep resends pieces that are overdue.
 * - The first runs of `report` are killed between the receipt of a failed aggregate and its record, and their messages are
 *   lost. So `track` finds the receipt when a deal is live after all.
 */
const faultsOf = (world: DeterministicWorld, system: System): Faults => {
  const start = world.now()
  let killed = 0
  return {
    ...NONE,
    callFault: ({ name, method }, _, caller) => {
      if (name === 'aggregator.pending' && method === 'putMany' && world.now() < start + 11 * MINUTE)
        return 'refuse'
      if (killed === 3 || caller !== 'dealer.report' || name !== 'dealer.receipt' || method !== 'insert')
        return undefined
      killed += 1
      world.timeline.after(MINUTE, () => serviceOf(system, 'dealer').queues.report!.lose())
      return 'killAfter'
    },
  }
}

const scheduleVisits = (world: DeterministicWorld, system: System, offer: Offer): void => {
  const start = world.now()
  const at = (hours: number, visit: () => Promise<void>) =>
    world.timeline.at(start + hours * HOUR, () => void visit())
  for (const hours of [0.08, 14, 61]) at(hours, () => askInfo(system, offer))
  for (const service of system.services.values()) {
    at(14, () => service.service.schedules.check!())
    at(15, () => revokeAt(system, service, offer))
  }
  at(14, () => addBlob(system, offer))
  at(2, () => offerInvalidAggregate(system))
  at(14, () => visitAsBroker(system))
  for (const hours of [50, 100, 150]) at(hours, () => concludeWithoutEffects(system))
  at(152, () => nameAddress(system, offer))
  at(155, () => forgetAggregation(world, system))
  at(160, () => repeatOffer(system))
  at(165, () => refusePiece(world, system))
}

/**
 * A piece of an aggregate with a known outcome is as earlier code left it, before the receipt of `piece/accept` arrived. The
 * poll of its group finds the receipt, and has the piece settled.
 */
const forgetAggregation = async (world: DeterministicWorld, system: System): Promise<void> =>
  queueAgain(world, system)

/**
 * The receipt of `piece/accept` refuses the piece, as that of a foreign aggregator may. The poll of the group finds it. The
 * piece has its final receipt already, which decides.
 */
const refusePiece = async (world: DeterministicWorld, system: System): Promise<void> => {
  const aggregator = serviceOf(system, 'aggregator')
  const { piece, group } = storefrontTables.piece.decode(acceptedPiece(system))
  const offered = { piece: parsePieceLink(piece), group, nonce: 'refused' }
  const task = await Tasks.pieceAccept(aggregator.id, offered)
  const error = failure('InvalidPieceCID', 'The aggregator refuses the piece')
  const receipt = await issueReceipt(aggregator.id, task, { out: { error } })
  aggregator.tables.receipt!.seed({
    task: `${task.cid}`,
    receipt: `${receipt.root.cid}`,
    car: await encodeMessage({ receipts: [receipt] }),
    issuedAt: world.now(),
    revision: 1,
  })
  queueAgain(world, system, { waitsFor: `${task.cid}` })
}

/** The aggregator offers an aggregate again that has a deal, as after an answer that was lost. */
const repeatOffer = async (system: System): Promise<void> => {
  const { aggregate } = serviceOf(system, 'aggregator').tables
  const ended = [...aggregate!.items.values()].find(({ stage }) => stage === 'accepted')
  await post(system, 'dealer', await unpackTask(ended?.offer as Uint8Array))
}

const acceptedPiece = (system: System) => {
  const { piece } = serviceOf(system, 'storefront').tables
  return [...piece!.items.values()].find(({ stage }) => stage === 'accepted') as Stored<Row> & {
    history: { stage: string; at: number }[]
  }
}

/** Sets a piece with a known outcome back to the stage `queued`. */
const queueAgain = (world: DeterministicWorld, system: System, change: object = {}): void => {
  const { piece } = serviceOf(system, 'storefront').tables
  const item = acceptedPiece(system)
  const history = item.history.slice(0, item.history.findLastIndex(({ stage }) => stage === 'queued') + 1)
  const { aggregate: _, aggregateId: __, inclusion: ___, ...queued } = item
  const due = dueAt(item.id as string, world.now())
  piece!.seed({ ...queued, ...change, stage: 'queued', history, ...due, revision: item.revision + 1 })
}

const serviceOf = ({ services }: System, name: string): Simulated => services.get(name) as Simulated

/** Another agent offers content whose workflow has ended, and names its address. */
const nameAddress = async (system: System, offer: Offer): Promise<void> => {
  const repeated = await invocationOf(offer, serviceOf(system, offer.storefront).id, otherThan(offer.agent))
  await post(system, offer.storefront, await repeated.buildIPLDView())
}

const askInfo = async (system: System, offer: Offer): Promise<void> => {
  const question = await questionOf(offer, serviceOf(system, offer.storefront).id)
  await post(system, offer.storefront, await question.buildIPLDView())
}

/** Asks for an address for content that the storefront does not have. */
const addBlob = async (system: System, offer: Offer): Promise<void> => {
  const { content, bytes } = await someContent('uploaded')
  const invocation = spaceBlobAdd.invoke({
    issuer: offer.space,
    audience: principal(serviceOf(system, offer.storefront).id.did()),
    with: offer.space.did(),
    nb: { blob: { digest: content.multihash.bytes, size: bytes.byteLength } },
    expiration: Infinity,
  })
  await post(system, offer.storefront, await invocation.buildIPLDView())
}

/** Revokes a delegation that no offer rests on, and asks for the receipt of the revocation. */
const revokeAt = async (system: System, { name, id, url }: Simulated, offer: Offer): Promise<void> => {
  const delegation = await delegate(offer, '*')
  const revocation = revoke.invoke({
    issuer: offer.space,
    audience: principal(id.did()),
    with: offer.space.did(),
    nb: { ucan: delegation.cid },
    expiration: Infinity,
  })
  for (const block of delegation.iterateIPLDBlocks()) revocation.attach(block)
  const task = await revocation.buildIPLDView()
  await post(system, name, task)
  await system.fetch(`${url}/receipt/${task.cid}`)
}

/** The aggregator offers pieces of which one is larger than the aggregate. */
const offerInvalidAggregate = async (system: System): Promise<void> => {
  const pieces = [somePiece('fits', 4), somePiece('too large', 20)]
  await offerAggregate(system, somePiece('an aggregate of 32 KiB', 10), pieces, 'invalid')
}

const offerAggregate = async (
  system: System,
  aggregate: PieceLink,
  pieces: readonly PieceLink[],
  group: string,
): Promise<void> => {
  const bytes = encode(pieces)
  const cid = linkOf(bytes, CBOR)
  const { id } = serviceOf(system, 'aggregator')
  const offer = await Tasks.aggregateOffer(id, principal(serviceOf(system, 'dealer').id.did()), {
    aggregate,
    pieces: cid as never,
    tenant: { storefront: id.did(), group, label: group },
    block: { cid, bytes } as never,
  })
  await post(system, 'dealer', offer)
}

/** The aggregator, which the dealer lists as a broker too, offers an aggregate, lists the open offers, and reports a deal and a failure. */
const visitAsBroker = async (system: System): Promise<void> => {
  const { ok } = buildAggregate({ pieces: [somePiece('brokered', 4)], size: 2 ** 15 })
  await offerAggregate(system, ok!.link, ok!.pieces, 'brokered')
  const { id, tables } = serviceOf(system, 'dealer')
  const record = [...tables.aggregate!.items.values()].find(({ aggregate }) => aggregate === `${ok!.link}`)
  const offer = `${record?.aggregate}/${record?.id}.json`
  const broker = serviceOf(system, 'aggregator').id
  const by = { issuer: broker, audience: principal(id.did()), with: broker.did(), expiration: Infinity }
  const invocations = [
    aggregateList.invoke({ ...by, nb: {} }),
    dealReport.invoke({ ...by, nb: { offer, place: '4711' } }),
    dealReport.invoke({ ...by, nb: { offer, fault: { message: 'No provider accepted it' } } }),
  ]
  for (const invocation of invocations) await post(system, 'dealer', await invocation.buildIPLDView())
}

/** The dealer hands over the receipts of failed aggregates, as it does when they have too many effects to attach. */
const concludeWithoutEffects = async (system: System): Promise<void> => {
  const { id, ...dealer } = serviceOf(system, 'dealer')
  const aggregator = principal(serviceOf(system, 'aggregator').id.did())
  for (const receipt of receiptsOf({ id, ...dealer }).values()) {
    if (receipt.fx.fork.length === 0) continue
    const blocks = [receipt.root, ...(receipt.ran as unknown as Task).iterateIPLDBlocks()]
    await post(
      system,
      'aggregator',
      await Tasks.conclude(id as Signer, aggregator, { root: receipt.root, blocks }),
    )
  }
}

type Task = Awaited<ReturnType<typeof Tasks.conclude>>

const post = async (system: System, name: string, task: unknown): Promise<void> => {
  await system.fetch(`${serviceOf(system, name).url}/`, {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.ipld.car' },
    body: (await encodeMessage({ invocations: [task as Task] })) as never,
  })
}
