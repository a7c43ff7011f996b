import { failure, Tasks } from '@w3filecoin/capabilities'
import { buildAggregate, pieceOf } from '@w3filecoin/piece'
import { generateKey, issueReceipt, type Outcome, parseSigner } from '@w3filecoin/runtime'
import { CID } from 'multiformats/cid'
import { beforeAll, describe, expect, it } from 'vitest'
import { verifyAccept } from '../../src/dev/verify.ts'

describe('verifyAccept', () => {
  const content = CID.parse('bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy')
  const aux = { dataType: 0, dataSource: { dealID: 42 } }
  let world: Awaited<ReturnType<typeof make>>

  const make = async () => {
    const storefront = parseSigner(await generateKey())
    const other = parseSigner(await generateKey())
    const pieces = await Promise.all([1, 2, 3].map(async n => (await pieceOf([Buffer.alloc(200, n)])).link))
    const piece = pieces[0]!
    const aggregate = buildAggregate({ pieces, size: 2 ** 16 }).ok!
    const at = aggregate.pieces.findIndex(link => `${link}` === `${piece}`)
    const task = await Tasks.filecoinAccept(storefront, { content, piece })
    const ok = { piece, aggregate: aggregate.link, inclusion: aggregate.proof(at), aux }
    const promised = { accept: `${task.link()}`, piece, storefront: storefront.did() }
    return { storefront, other, piece, pieces, aggregate, at, task, ok, promised }
  }

  beforeAll(async () => {
    world = await make()
  })

  const verify = async (
    out: Outcome['out'],
    { issuer = world.storefront, task = world.task, promised = world.promised } = {},
  ) => verifyAccept(await issueReceipt(issuer, task, { out }), promised)

  it('returns the aggregate and the deal of a valid receipt', async () => {
    const { ok } = await verify({ ok: world.ok })
    expect(ok?.dealID).toBe(42)
    expect(`${ok?.aggregate}`).toBe(`${world.aggregate.link}`)
  })

  it('rejects a receipt that the storefront did not sign', async () => {
    const { error } = await verify({ ok: world.ok }, { issuer: world.other })
    expect(error?.message).toMatch(/^The receipt is not signed by did:key:/)
  })

  it('rejects a receipt of a task that was not promised', async () => {
    const task = await Tasks.filecoinAccept(world.storefront, { content, piece: world.piece, nonce: 'other' })
    expect((await verify({ ok: world.ok }, { task })).error?.message).toMatch(/^The receipt is for task bafy/)
  })

  it('rejects a receipt for a piece that was not offered', async () => {
    const { error } = await verify({ ok: { ...world.ok, piece: world.pieces[1]! } })
    expect(error?.message).toMatch(/^The receipt is for piece bafkzcib/)
  })

  it('rejects a proof of another piece', async () => {
    const inclusion = world.aggregate.proof((world.at + 1) % 3)
    expect((await verify({ ok: { ...world.ok, inclusion } })).error).toMatchObject({
      name: 'InvalidInclusion',
    })
  })

  it('rejects a proof of another index entry', async () => {
    const { subtree, index } = world.ok.inclusion
    const inclusion = { subtree, index: [index[0] + 1n, index[1]] }
    expect((await verify({ ok: { ...world.ok, inclusion } })).error).toMatchObject({
      name: 'InvalidInclusion',
    })
  })

  it('rejects a receipt without a deal', async () => {
    const { error } = await verify({ ok: { ...world.ok, aux: { dataType: 0, dataSource: {} } } })
    expect(error?.message).toBe('The receipt names no deal')
  })

  it('returns the failure of a valid receipt', async () => {
    const error = failure('InvalidContentPiece', 'The content does not match the piece', { content })
    expect((await verify({ error })).error).toMatchObject({ name: 'InvalidContentPiece' })
  })
})
