import { Invocation, Receipt } from '@ucanto/core'
import type { Block } from '@ucanto/interface'
import { decodeMessage, type Fetch, MESSAGE_LIMITS } from '@w3filecoin/runtime'
import type { DeterministicWorld } from '@w3filecoin/testing/deterministic'

/** The attempts that a storefront makes to deliver a receipt, as docs/store-files.md says. */
export const DELIVERY_ATTEMPTS = 6

/** The addresses that agents name for receipts. */
export class Addresses {
  readonly #world: DeterministicWorld
  readonly #fails: () => boolean
  /** CIDs of the receipts that arrived, by agent and task. */
  readonly #receipts = new Map<string, string>()

  /** @param fails whether an address answers a request with an error now */
  constructor(world: DeterministicWorld, fails: () => boolean) {
    this.#world = world
    this.#fails = fails
  }

  readonly fetch: Fetch = (_, init) => {
    const { agent, task, receipt } = readConclusion(init?.body as unknown as Uint8Array)
    return this.#world.call(
      { port: 'http', name: 'agents', method: 'POST receipt' },
      {
        run: () => {
          if (this.#fails()) {
            this.#world.count('address fails')
            return new Response(null, { status: 503 })
          }
          this.#receipts.set(keyOf(agent, task), receipt)
          return new Response(null, { status: 204 })
        },
      },
    )
  }

  /** Returns the CID of the receipt of a task that the address of an agent got; `undefined` if it got none. */
  find(agent: string, task: string): string | undefined {
    return this.#receipts.get(keyOf(agent, task))
  }
}

const keyOf = (agent: string, task: string) => `${agent} ${task}`

/** Reads a delivery: to which agent it is addressed, and the CIDs of the receipt and of its task. */
const readConclusion = (body: Uint8Array): { agent: string; task: string; receipt: string } => {
  const { ok, error } = decodeMessage(body, MESSAGE_LIMITS)
  if (error) throw new Error(`A delivery cannot be read: ${error.message}`)
  const { store } = ok.message
  const conclusion = Invocation.view({ root: ok.invocations[0] as never, blocks: store as never })
  const { receipt: root } = conclusion.capabilities[0].nb as { receipt: Block['cid'] }
  const blocks = new Map([...conclusion.iterateIPLDBlocks()].map(block => [`${block.cid}`, block]))
  const receipt = Receipt.view({ root: root as never, blocks: blocks as never })
  return { agent: conclusion.audience.did(), task: `${receipt.ran.link()}`, receipt: `${root}` }
}
