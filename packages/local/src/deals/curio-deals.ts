import { join } from 'node:path'
import { parsePiece } from '@w3filecoin/piece'
import type { LogFile } from '../log-file.ts'
import { CurioProvider } from './curio-provider.ts'
import type { DealMaking } from './deal-making.ts'
import { openLocalChain } from './local-chain.ts'

const MINERS = ['f01001', 'f01002', 'f01003']
/** Duration of a sector: 540 days. */
const SECTOR_EPOCHS = 540 * 2_880
/** Padded bytes of an aggregate. Real ones have 32 GiB. */
const AGGREGATE_BYTES = 2 ** 25

/** Three providers with Curio that store in sectors, and their chain. */
export const openCurioDeals = async ({ port, log }: { port: number; log: LogFile }): Promise<DealMaking> => {
  const local = await openLocalChain({ port, log })
  const { chain, node, facts } = local
  /** Counts the changes of sectors. */
  let changes = 0
  const providers = await Promise.all(
    MINERS.map(async miner => {
      const provider = new CurioProvider({
        miners: [miner],
        onSealed: ({ piece }) => {
          const { link } = parsePiece(`${piece}`).ok!
          node.activate(miner, node.nextSector(miner), [link], chain.head + SECTOR_EPOCHS)
          changes += 1
        },
      })
      return { miner, provider, ...(await provider.listen()) }
    }),
  )
  return {
    ...facts,
    aggregateBytes: AGGREGATE_BYTES,
    dealer: {
      targets: providers.map(({ miner, url }, n) => ({
        kind: 'curio' as const,
        name: targetOf(n),
        url,
        miner,
        maxInFlight: 100,
      })),
      policies: [{ copies: 2, minLive: 2 }],
      keepWholeDays: 0,
    },
    sources: [{ name: 'sectors', kind: 'sector', rpc: [facts.rpc], network: facts.network, miners: MINERS }],
    start: async ({ data, onDeal = () => {} }) => {
      let before: number | undefined
      local.start({
        file: join(data, 'chain.json'),
        onChange: onDeal,
        step: async () => {
          for (const { provider } of providers) await provider.step()
          const isBusy = providers.some(
            ({ provider: { deals, faults } }) =>
              !faults.isStuck && [...deals.values()].some(({ state }) => state !== 'complete'),
          )
          const hasChanged = changes !== before
          before = changes
          return hasChanged || isBusy
        },
      })
    },
    die: target => {
      const { miner, provider } = providers.find((_, n) => targetOf(n) === target)!
      provider.faults = { answer: { status: 'none' }, isStuck: true }
      for (let sector = 1; sector < node.nextSector(miner); sector++) node.terminate(miner, sector)
      changes += 1
    },
    stop: async () => {
      await local.stop()
      await Promise.all(providers.map(({ close }) => close()))
    },
  }
}

/** @example targetOf(0) // 'provider-1' */
const targetOf = (n: number): string => `provider-${n + 1}`
