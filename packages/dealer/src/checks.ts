import { hasher } from '@w3filecoin/piece'
import {
  type Check,
  type Checking,
  concludeQuestion,
  dealInfoQuestion,
  EXAMPLE,
  failing,
  fine,
  hasherCheck,
  ownDocumentChecks,
  peerChecks,
  reasonOf,
} from '@w3filecoin/runtime'
import type { DealerConfig } from './config.ts'
import type { OpenTarget } from './dependencies.ts'
import type { AggregateRecord } from './domain/aggregate.ts'
import { resources } from './resources.ts'
import type { Stores } from './stores.ts'
import { ORDERS_CHECK } from './unfinished.ts'

interface Checked extends Checking {
  config: Pick<DealerConfig, 'aggregators' | 'storefronts' | 'pieceSources' | 'dealTracker'>
  targets: readonly Pick<OpenTarget, 'name' | 'maker'>[]
  /** URL at which targets fetch aggregates. */
  door: string | undefined
  stores: Pick<Stores, 'order' | 'aggregate'>
}

/** Maximum time for the answer of a piece source. */
const TIMEOUT_MS = 10_000
/** Stuck orders, and aggregates that lack copies, that are counted. */
const MAX_COUNTED = 100

/** Returns the checks of a dealer. */
export const dealerChecks = ({
  config,
  targets,
  door,
  stores,
  id,
  peer: open,
  random,
  ...others
}: Checked): Check[] => {
  const { service } = resources
  const tools = { service, ...others }
  const dealTracker = open(config.dealTracker)

  /** Asks for a piece that does not exist. The storefront refuses the permit, or does not find the piece. */
  const checkPieceSource = ({ storefront, url }: DealerConfig['pieceSources'][number]): Check => ({
    name: `pieces ${storefront}`,
    check: 'pieces',
    subject: storefront,
    setting: 'pieceSources',
    run: async () => {
      const advice = `Storage providers cannot fetch the pieces of ${storefront}. Check pieceSources.url in the settings of the ${service}`
      try {
        const address = url.replace('{permit}', 'check').replace('{piece}', `${EXAMPLE.piece}`)
        const response = await others.fetch(address, {
          redirect: 'manual',
          signal: AbortSignal.timeout(TIMEOUT_MS),
        })
        await response.body?.cancel()
        if (response.status < 500) return fine(`${url} answers`)
        return failing('PiecesUnreachable', `${url} answers with status ${response.status}. ${advice}`)
      } catch (cause) {
        return failing('PiecesUnreachable', `${url} cannot be reached: ${reasonOf(cause)}. ${advice}`)
      }
    },
  })

  const checkTarget = ({ name, maker }: Pick<OpenTarget, 'name' | 'maker'>): Check => ({
    name: `target ${name}`,
    check: 'target',
    subject: name,
    setting: 'targets',
    run: async () => {
      const { ok, error } = await maker.check()
      return ok
        ? fine(ok.message)
        : failing(
            error.name,
            `The target ${name} in the settings of the ${service} gets no copies, or soon gets none: ${error.message}`,
          )
    },
  })

  const stuckOrders: Check = {
    name: ORDERS_CHECK,
    check: 'order',
    run: async () => {
      if (targets.length > 0 && door === undefined)
        return failing(
          'NoDoor',
          `The targets of the ${service} get no orders, because they cannot fetch aggregates: set \`door\` in its settings`,
        )
      const { items } = await stores.order.find('needs', 'operator', { limit: MAX_COUNTED })
      // The index lags behind.
      const stuck = (await stores.order.getMany(items)).flatMap(order => (order?.stuck ? [order] : []))
      const [first] = stuck
      if (first === undefined) return fine('No order needs an operator')
      return failing(
        'OrdersStuck',
        `${countOf(stuck, items)} orders of the ${service} need an operator, since ${new Date(first.stuckAt ?? first.stageAt).toISOString()}. The first one is of ${first.aggregate}: ${first.stuck}. See w3fil ops orders --stuck`,
      )
    },
  }

  const missingCopies: Check = {
    name: 'copies',
    check: 'order',
    run: async () => {
      const stage: AggregateRecord['stage'] = 'accepted'
      const { items } = await stores.aggregate.find('open', stage, { limit: MAX_COUNTED })
      // The index lags behind.
      const lacking = (await stores.aggregate.getMany(items)).flatMap(record =>
        record?.lack ? [record] : [],
      )
      const first = lacking.find(({ lack }) => lack!.problem === 'TooFewCopies') ?? lacking[0]
      if (first === undefined) return fine('No accepted aggregate lacks copies')
      const { problem, message, at } = first.lack!
      return failing(
        problem,
        `${countOf(lacking, items)} accepted aggregates of the ${service} lack copies. ${first.aggregate}, since ${new Date(at).toISOString()}: ${message}. See w3fil ops orders --aggregate ${first.aggregate}`,
      )
    },
  }

  return [
    ...peerChecks(
      {
        config: config.dealTracker,
        peer: dealTracker,
        setting: 'dealTracker',
        question: dealInfoQuestion({ id, random }, dealTracker),
        aliasIsFine: true,
      },
      tools,
    ),
    ...config.aggregators.flatMap(aggregator => {
      const peer = open(aggregator)
      const question = concludeQuestion(id, peer)
      return peerChecks({ config: aggregator, peer, setting: 'aggregators', question }, tools)
    }),
    ...config.storefronts.flatMap(storefront =>
      peerChecks({ config: storefront, peer: open(storefront), setting: 'storefronts' }, tools),
    ),
    ...config.pieceSources.map(checkPieceSource),
    ...targets.map(checkTarget),
    stuckOrders,
    missingCopies,
    ...ownDocumentChecks(id, tools),
    hasherCheck(hasher, service),
  ]
}

/** The number of records that were found, which are those of all items, or more. */
const countOf = (found: readonly object[], items: readonly object[]): string =>
  `${items.length < MAX_COUNTED ? '' : 'at least '}${found.length}`
