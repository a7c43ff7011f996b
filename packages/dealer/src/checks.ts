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
import { resources } from './resources.ts'
import type { Stores } from './stores.ts'

interface Checked extends Checking {
  config: Pick<DealerConfig, 'aggregators' | 'storefronts' | 'pieceSources' | 'dealTracker'>
  targets: readonly Pick<OpenTarget, 'name' | 'maker'>[]
  stores: Pick<Stores, 'order'>
}

/** Maximum time for the answer of a piece source. */
const TIMEOUT_MS = 10_000
/** Stuck orders that are counted. */
const MAX_STUCK = 100

/** Returns the checks of a dealer. */
export const dealerChecks = ({
  config,
  targets,
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
    name: 'orders',
    check: 'order',
    run: async () => {
      const { items } = await stores.order.find('needs', 'operator', { limit: MAX_STUCK })
      // The index lags behind.
      const stuck = (await stores.order.getMany(items)).flatMap(order => (order?.stuck ? [order] : []))
      const [first] = stuck
      if (first === undefined) return fine('No order needs an operator')
      const many = `${items.length < MAX_STUCK ? '' : 'at least '}${stuck.length}`
      return failing(
        'OrdersStuck',
        `${many} orders of the ${service} need an operator, since ${new Date(first.stuckAt ?? first.stageAt).toISOString()}. The first one is of ${first.aggregate}: ${first.stuck}. See w3fil ops orders --stuck`,
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
    ...ownDocumentChecks(id, tools),
    hasherCheck(hasher, service),
  ]
}
