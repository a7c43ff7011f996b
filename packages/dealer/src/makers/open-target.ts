import type { Clock, Fetch } from '@w3filecoin/runtime'
import type { Hex } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { type TargetConfig, toTarget } from '../config.ts'
import type { OpenTarget } from '../dependencies.ts'
import { openCurioMaker } from './curio.ts'
import type { Maker } from './maker.ts'
import { openPdpMaker } from './pdp.ts'

interface TargetTools {
  /** The private key that signs orders. */
  wallet: Hex
  fetch: Fetch
  now: Clock
}

/** Opens a target of the configuration. */
export const openTarget = (config: TargetConfig, tools: TargetTools): OpenTarget => ({
  ...toTarget(config),
  maker: openMaker(config, tools),
})

/** Opens the maker of a target by its kind. A kind in the configuration's schema without a case here does not compile. */
const openMaker = (config: TargetConfig, { wallet, fetch, now }: TargetTools): Maker => {
  switch (config.kind) {
    case 'pdp':
      return openPdpMaker(config, { fetch, sessionKey: wallet })
    case 'curio':
      return openCurioMaker(config, { fetch, now, account: privateKeyToAccount(wallet) })
  }
}
