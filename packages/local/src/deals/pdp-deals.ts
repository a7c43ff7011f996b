import { join } from 'node:path'
import { deriveWallet } from '@w3filecoin/dealer/wallet'
import { parseSigner } from '@w3filecoin/runtime'
import type { Hex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import type { LogFile } from '../log-file.ts'
import { CONTRACTS } from './chain.ts'
import type { DealMaking } from './deal-making.ts'
import { openLocalChain } from './local-chain.ts'
import { startPdpProvider } from './pdp-provider.ts'
import { deposit, login, registerProvider } from './warm-storage.ts'

/** The wallet that pays. No key of it is needed. */
const PAYER: Hex = `0x${'11'.repeat(20)}`
const FUNDS = 10n ** 24n
const KEY_YEARS = 10
const YEAR_SECONDS = 365 * 24 * 60 * 60
const PROVIDER_IDS = [1, 2, 3]
/** Padded bytes of an aggregate. Real ones may have 1 GiB. */
const AGGREGATE_BYTES = 2 ** 25

/** Three providers that prove with PDP, and their chain. */
export const openPdpDeals = async ({ port, log }: { port: number; log: LogFile }): Promise<DealMaking> => {
  const local = await openLocalChain({ port, log })
  const { chain, facts } = local
  const providers = await Promise.all(
    PROVIDER_IDS.map(id => startPdpProvider({ chain, id, address: addressOf(id) })),
  )
  const contracts = { chain: chain.chainId, service: CONTRACTS.service }
  return {
    ...facts,
    aggregateBytes: AGGREGATE_BYTES,
    dealer: {
      targets: PROVIDER_IDS.map((id, n) => ({
        kind: 'pdp' as const,
        name: targetOf(id),
        rpc: facts.rpc,
        ...contracts,
        payer: PAYER,
        provider: { id, url: providers[n]!.url },
        maxInFlight: 100,
      })),
      policies: [{ copies: 2, minLive: 2 }],
      keepWholeDays: 0,
    },
    sources: [
      {
        name: 'pdp',
        kind: 'pdp',
        rpc: [facts.rpc],
        ...contracts,
        verifier: facts.verifier,
        payers: [PAYER],
      },
    ],
    start: async ({ data, dealerKey = '', onDeal = () => {} }) => {
      let pieces: number | undefined
      local.start({
        file: join(data, 'chain.json'),
        onChange: onDeal,
        step: async () => {
          for (const provider of providers) {
            await provider.pull()
            await provider.mine()
          }
          const before = pieces
          pieces = chain.dataSets().reduce((sum, { id }) => sum + chain.pieces(id).length, 0)
          return pieces !== before || providers.some(({ isBusy }) => isBusy())
        },
      })
      for (const id of PROVIDER_IDS) registerProvider(chain, id, { payee: addressOf(id) })
      const until = Math.floor(Date.now() / 1000) + KEY_YEARS * YEAR_SECONDS
      const { address } = privateKeyToAccount(await deriveWallet(parseSigner(dealerKey), 0))
      login(chain, { payer: PAYER, key: address, until })
      deposit(chain, { payer: PAYER, funds: FUNDS })
    },
    die: target => {
      const n = PROVIDER_IDS.findIndex(id => targetOf(id) === target)
      providers[n]!.faults.isDead = true
      for (const { id } of chain.dataSets())
        if (chain.dataSet(id)?.providerId === PROVIDER_IDS[n]) chain.deleteDataSet(id)
    },
    stop: async () => {
      await local.stop()
      await Promise.all(providers.map(provider => provider.close()))
    },
  }
}

/** @example targetOf(1) // 'provider-1' */
const targetOf = (id: number): string => `provider-${id}`

const addressOf = (id: number): Hex => `0x${`${id}`.padStart(2, '0').repeat(20)}`
