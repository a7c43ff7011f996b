import {
  type AggregateRecord,
  CONDITIONS,
  describeOrder,
  documentName,
  isInFlight,
  type OrderRecord,
  pardon,
  type Stores,
  type WholeRecord,
} from '@w3filecoin/dealer'
import { unfinished } from '@w3filecoin/dealer/unfinished'
import { DUE, DUE_SHARDS, listAll, type Stored, update } from '@w3filecoin/runtime'
import { CommandError, type Outcome } from '../outcome.ts'
import { count, table } from '../text.ts'
import { type Dealer, findOffers } from './dealer.ts'
import { time } from './display.ts'

interface OrdersOptions {
  /** CID of an aggregate, or id of an offer: show all its orders. */
  aggregate?: string
  /** Whether to show only orders that need an operator. */
  stuck?: boolean
  limit: number
}

/** Orders that are read in one call. */
const PAGE_ORDERS = 100

/**
 * Shows the aggregates that lack copies, and the open and stuck orders, each up to a limit: stuck ones first, live ones last. Or all
 * orders of one aggregate.
 */
export const listOrders = async ({ stores }: Dealer, options: OrdersOptions): Promise<Outcome> => {
  const { aggregate, limit, stuck: onlyStuck = false } = options
  const offers = aggregate === undefined ? [] : await findOffers(stores, aggregate)
  const { orders, more } =
    aggregate !== undefined
      ? await readOrdersOf(stores, offers, limit)
      : onlyStuck
        ? await readIndex(stores, [STUCK], limit)
        : await readOpenOrders(stores, limit)
  const shown = orders.filter(({ stuck }) => !onlyStuck || stuck !== undefined)
  const wholes = aggregate === undefined ? [] : await readWholes(stores, offers)
  const stuck = shown.filter(order => order.stuck !== undefined).length
  const lacking =
    aggregate === undefined ? await readLacking(stores, limit) : offers.filter(({ lack }) => lack)
  return {
    result: {
      ...(aggregate !== undefined && {
        offers: offers.map(({ id, aggregate, stage, storefront, group, offeredAt, waitsFor, lack }) => ({
          offer: id,
          aggregate,
          stage,
          storefront,
          group,
          offeredAt,
          waitsFor,
          lack,
        })),
        wholes: wholes.map(({ id, stage, stageAt, trouble, fault }) => ({
          aggregate: id,
          stage,
          since: stageAt,
          trouble,
          fault,
        })),
      }),
      ...(aggregate === undefined && {
        lacking: lacking.map(({ id, aggregate, lack }) => ({ offer: id, aggregate, lack })),
      }),
      orders: shown.map(describe),
      more,
    },
    lines: [
      ...(aggregate === undefined ? lacking.flatMap(lackLines) : []),
      ...(aggregate === undefined
        ? [...Map.groupBy(shown, ({ offer }) => offer)].flatMap(([offer, some]) => [
            `${some[0]!.aggregate}, offer ${offer}`,
            ...linesOf(some),
          ])
        : offers.flatMap(offer => [
            ...headOf(offer, wholes),
            ...linesOf(shown.filter(order => order.offer === offer.id)),
          ])),
      ...(shown.length === 0 ? [noOrders(options)] : []),
      ...(more ? [`There are more: pass a greater --limit than ${limit}.`] : []),
    ],
    ...(stuck + lacking.length > 0 && { error: needsOperator(stuck, lacking.length) }),
  }
}

/** Permits further orders of an aggregate where the dealer stopped, and has the dealer go on with all of them now. */
export const retryOrders = async ({ stores, queues }: Dealer, subject: string): Promise<Outcome> => {
  const offers = await findOffers(stores, subject)
  const open = offers.filter(({ stage }) => stage !== 'failed')
  if (open.length === 0)
    throw new CommandError(
      'AlreadyFailed',
      `The aggregate ${offers[0]!.aggregate} has failed: it gets no orders`,
      {
        hint: 'The dealer offers its valid pieces to the aggregator again.',
      },
    )
  const permitted: Stored<OrderRecord>[] = []
  const others: Stored<OrderRecord>[] = []
  let orders = 0
  for (const { id } of open)
    for (const order of await listAll(stores.order, id)) {
      orders++
      if (order.stuck === undefined) continue
      const { changed } = await update(stores.order, keyOf(order), pardon, { known: order })
      ;(changed || order.isPardoned ? permitted : others).push(order)
    }
  if (orders === 0)
    throw new CommandError('NotFound', `The aggregate ${offers[0]!.aggregate} has no orders`, {
      hint: 'Without a target for it, deal making finds the offer document: see docs/operations.md.',
    })
  await queues.order.send(open.map(({ id }) => ({ offer: id })))
  return {
    result: {
      offers: open.map(({ id }) => id),
      permitted: permitted.map(describe),
      others: others.map(describe),
    },
    lines: [
      ...permitted.map(({ stuck }) => `Further orders are permitted: ${stuck}`),
      ...others.map(({ stuck }) => `No permission is missing, but the dealer tries again: ${stuck}`),
      ...(permitted.length + others.length === 0 ? ['No order is stuck: nothing was permitted.'] : []),
      `The dealer goes on with ${orders === 1 ? 'one order' : `${count(orders)} orders`} of ${offers[0]!.aggregate} now. See w3fil ops orders --aggregate.`,
    ],
  }
}

/**
 * Has the dealer fail an offer, on the word of an operator.
 *
 * @param options.force whether to do so although an order of it has a copy, or may get one
 */
export const dropOffer = async (
  { stores, queues }: Dealer,
  subject: string,
  { reason, force = false }: { reason: string; force?: boolean },
): Promise<Outcome> => {
  const offer = chooseOpen(await findOffers(stores, subject))
  const orders = await listAll(stores.order, offer.id)
  const kept = orders.filter(order => order.stage === 'live' || isInFlight(order))
  if (kept.length > 0 && !force)
    throw new CommandError(
      'OrdersOpen',
      `Copies of ${offer.aggregate} are stored, or may be: ${kept.map(describeOrder).join('; ')}`,
      { hint: 'Wait for the end of these orders, or pass --force: the copies are paid nonetheless.' },
    )
  await queues.report.send([{ offer: documentName(offer), message: reason, invalid: [] }])
  return {
    result: { offer: offer.id, aggregate: offer.aggregate, reason, orders: kept.map(describe) },
    lines: [
      `The dealer was asked to fail ${offer.aggregate}, and to offer its pieces to the aggregator again.`,
      ...kept.map(order => `This order is not recalled: ${describeOrder(order)}`),
      'See w3fil ops trace.',
    ],
  }
}

/** Returns the only offer that is open. */
const chooseOpen = (offers: readonly Stored<AggregateRecord>[]): Stored<AggregateRecord> => {
  const open = offers.filter(({ stage }) => stage === 'offered')
  const [first] = open
  if (first === undefined) {
    const accepted = offers.find(({ stage }) => stage === 'accepted')
    const { aggregate } = offers[0]!
    throw accepted
      ? new CommandError(
          'AlreadyAccepted',
          `The aggregate ${aggregate} was accepted: it cannot fail any more`,
        )
      : new CommandError('AlreadyFailed', `The aggregate ${aggregate} has failed already`)
  }
  if (open.length > 1)
    throw new CommandError(
      'SeveralOffers',
      `The aggregate ${first.aggregate} has ${open.length} open offers: ${open.map(({ id }) => id).join(', ')}`,
      { hint: 'Pass the id of one of them instead of the CID.' },
    )
  return first
}

const STUCK = { index: 'needs', partition: 'operator' }
/** The orders that the dealer advances, then those that wait: live ones. */
const OPEN = [...DUE_SHARDS.own, ...DUE_SHARDS.waiting].map(partition => ({ index: DUE, partition }))

/** Reads stuck orders, then the ones that the dealer advances, then live ones, until the limit is reached. */
export const readOpenOrders = (stores: Stores, limit: number) => readIndex(stores, [STUCK, ...OPEN], limit)

/** Reads the orders in partitions of indexes, one after the other, until the limit is reached. */
const readIndex = async (
  { order: table }: Stores,
  partitions: readonly { index: string; partition: string }[],
  limit: number,
): Promise<{ orders: Stored<OrderRecord>[]; more: boolean }> => {
  /** By id: a stuck order is in both indexes. */
  const found = new Map<string, Stored<OrderRecord>>()
  for (const { index, partition } of partitions) {
    let after: string | undefined
    do {
      const page = await table.find(index, partition, { limit: PAGE_ORDERS, after })
      for (const order of await table.getMany(page.items)) {
        // Indexes lag behind.
        if (order === undefined || !unfinished.order.isUnfinished(order) || found.has(order.id)) continue
        if (found.size >= limit) return { orders: [...found.values()], more: true }
        found.set(order.id, order)
      }
      after = page.next
    } while (after !== undefined)
  }
  return { orders: [...found.values()], more: false }
}

/** Reads the orders of some offers, until the limit is reached. */
const readOrdersOf = async (
  { order: table }: Stores,
  offers: readonly AggregateRecord[],
  limit: number,
): Promise<{ orders: Stored<OrderRecord>[]; more: boolean }> => {
  const orders: Stored<OrderRecord>[] = []
  for (const { id } of offers) {
    const page = await table.list(id, { limit: limit - orders.length + 1 })
    orders.push(...page.items)
    if (orders.length > limit) return { orders: orders.slice(0, limit), more: true }
  }
  return { orders, more: false }
}

/** Reads the accepted aggregates that lack copies, those with the oldest lack first. */
const readLacking = async (
  { aggregate: table }: Stores,
  limit: number,
): Promise<Stored<AggregateRecord>[]> => {
  const stage: AggregateRecord['stage'] = 'accepted'
  const { items } = await table.find('open', stage, { limit })
  // The index lags behind.
  return (await table.getMany(items)).filter(
    record => record?.lack !== undefined,
  ) as Stored<AggregateRecord>[]
}

const readWholes = async (
  { whole: table }: Stores,
  offers: readonly AggregateRecord[],
): Promise<Stored<WholeRecord>[]> => {
  const ids = [...new Set(offers.map(({ aggregate }) => aggregate))]
  return (await table.getMany(ids.map(id => ({ id })))).filter(whole => whole !== undefined)
}

const keyOf = ({ offer, order }: OrderRecord) => ({ offer, order })

/** The fields of an order that programs get, besides the time since when it is at its stage. */
const SHOWN = [
  'offer',
  'order',
  'aggregate',
  'copy',
  'attempt',
  'target',
  'provider',
  'stage',
  'place',
  'endsAt',
  'condition',
  'history',
  'deadline',
  'progress',
  'trouble',
  'reason',
  'stuck',
  'stuckAt',
  'isPardoned',
] as const satisfies (keyof OrderRecord)[]

/** An order for programs. Times are in milliseconds since 1970. */
const describe = (order: OrderRecord) => ({
  ...(Object.fromEntries(SHOWN.map(name => [name, order[name]])) as Pick<
    OrderRecord,
    (typeof SHOWN)[number]
  >),
  since: order.stageAt,
})

const headOf = (
  { id, aggregate, stage, waitsFor, lack }: AggregateRecord,
  wholes: readonly WholeRecord[],
): string[] => {
  const whole = wholes.find(({ id }) => id === aggregate)
  const problem = whole?.fault
    ? `the bytes of ${whole.fault.piece} are wrong: ${whole.fault.message}`
    : whole?.trouble?.message
  return [
    `Offer ${id} of ${aggregate}: ${stage}${waitsFor === undefined ? '' : `; it waits: ${waitsFor}`}`,
    ...(lack ? [`  ${describeLack(lack)}`] : []),
    whole === undefined
      ? '  Its payload was not written for targets yet.'
      : `  Its payload is ${whole.stage} since ${time(whole.stageAt)} UTC${problem === undefined ? '' : `: ${problem}`}`,
  ]
}

/** Formats the orders of an offer as a table. Messages are below their order, whole. */
const linesOf = (orders: readonly OrderRecord[]): string[] => {
  if (orders.length === 0) return []
  const [heads, ...rows] = table(
    ['COPY', 'ATTEMPT', 'TARGET', 'STAGE', 'SINCE (UTC)', 'DEADLINE (UTC)', 'PLACE'],
    orders.map(({ copy, attempt, target, stage, stageAt, deadline, place = '-' }) => [
      `${copy}`,
      `${attempt}`,
      target,
      stage,
      time(stageAt) ?? '-',
      (isInFlight({ stage }) && time(deadline)) || '-',
      place,
    ]),
  )
  return [
    `  ${heads}`,
    ...orders.flatMap((order, n) => [`  ${rows[n]}`, ...notesOf(order).map(note => `    ${note}`)]),
  ]
}

const notesOf = ({ stage, endsAt, condition, progress, trouble, reason, stuck }: OrderRecord): string[] => [
  ...(stage === 'live' && endsAt !== undefined ? [`It ends ${time(endsAt)} UTC`] : []),
  ...(stage === 'live' && condition ? [CONDITIONS[condition]] : []),
  ...(reason ? [`${reason.name}: ${reason.message}`] : []),
  ...(progress !== undefined && isInFlight({ stage }) ? [progress] : []),
  ...(trouble ? [trouble.message] : []),
  ...(stuck === undefined ? [] : [`STUCK: ${stuck}`]),
]

const noOrders = ({ aggregate, stuck }: OrdersOptions): string =>
  aggregate === undefined
    ? stuck
      ? 'No order needs an operator.'
      : 'No order is open.'
    : stuck
      ? 'None of its orders needs an operator.'
      : 'It has no orders: without a target for it, deal making finds the offer document.'

const lackLines = ({ id, aggregate, lack }: AggregateRecord): string[] =>
  lack ? [`${aggregate}, offer ${id}`, `  ${describeLack(lack)}`] : []

const describeLack = ({ at, message }: NonNullable<AggregateRecord['lack']>): string =>
  `LACKS COPIES since ${time(at)} UTC: ${message}`

const needsOperator = (orders: number, lacking: number): CommandError =>
  new CommandError(
    'NeedsOperator',
    [
      ...(orders === 0
        ? []
        : [orders === 1 ? 'One order needs an operator' : `${count(orders)} orders need an operator`]),
      ...(lacking === 0
        ? []
        : [lacking === 1 ? 'One aggregate lacks copies' : `${count(lacking)} aggregates lack copies`]),
    ].join('. '),
    {
      hint: 'Repair the cause, then pass the aggregate to w3fil ops order retry, or to w3fil ops order drop.',
    },
  )
