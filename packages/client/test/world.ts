import type { Signer } from '@ucanto/interface'
import { ed25519 } from '@ucanto/principal'
import { Tasks } from '@w3filecoin/capabilities'
import { buildAggregate } from '@w3filecoin/piece'
import { issueReceipt, type Outcome } from '@w3filecoin/runtime'
import { identify, Proof } from '../src/index.ts'

/** A storefront with a piece in an aggregate that has a deal. */
export interface World {
  storefront: Signer
  bytes: Uint8Array<ArrayBuffer>
  ok: object
  /** Signs the receipt of a task, by default of the `filecoin/accept` of the content, with the result `ok`. */
  issue(change?: { issuer?: Signer; task?: Tasked; out?: Outcome['out'] }): Promise<Proof>
  task: Tasked
  offered: Parameters<typeof Tasks.filecoinAccept>[1]
}

type Tasked = Awaited<ReturnType<typeof Tasks.filecoinAccept>>

/** @param size padded bytes of the aggregate */
export const createWorld = async ({
  storefront,
  size = 2 ** 16,
}: {
  storefront?: Signer
  size?: number
} = {}): Promise<World> => {
  const issuer = storefront ?? ((await ed25519.generate()) as Signer)
  const contents = [1, 2, 3].map(n => new Uint8Array(200).fill(n))
  const identified = await Promise.all(contents.map(bytes => identify(bytes)))
  const { content, piece } = identified[0]!
  const aggregate = buildAggregate({ pieces: identified.map(({ piece }) => piece), size }).ok!
  const at = aggregate.pieces.findIndex(link => `${link}` === `${piece}`)
  const offered = { content, piece }
  const task = await Tasks.filecoinAccept(issuer, offered)
  const aux = { dataType: 0, dataSource: { dealID: 42 } }
  const ok = { piece, aggregate: aggregate.link, inclusion: aggregate.proof(at), aux }
  return {
    storefront: issuer,
    bytes: contents[0]!,
    ok,
    task,
    offered,
    issue: async ({ issuer: signer = issuer, task: ran = task, out = { ok } } = {}) =>
      Proof.fromReceipt((await issueReceipt(signer, ran, { out })) as never),
  }
}
