import { Delegation, invoke } from '@ucanto/core'
import type { Delegation as DelegationView, Invocation, Receipt, Signer } from '@ucanto/interface'
import { filecoinOffer, revoke } from '@w3filecoin/capabilities'
import { ask, bytesOf, linkOf, signersOf, somePiece, startWorld, type World } from '@w3filecoin/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  Authority,
  createHttpApp,
  provide,
  type ReceiptLog,
  type RevocationRecord,
  Server,
  type Service,
  type Table,
} from '../src/index.ts'

const { service, space, team, agent, stranger } = await signersOf(
  'service',
  'space',
  'team',
  'agent',
  'stranger',
)

let world: World
let api: Service['api']
let table: Table<RevocationRecord>

beforeAll(async () => {
  world = await startWorld()
  const aws = await world.provide({
    service: 'revocable',
    api: { timeout: 1, memory: 128, uses: {} },
    tables: {
      revocation: { fields: { ucan: 'string', by: 'string' }, key: { hash: 'ucan', range: 'by' } },
    },
    queues: {},
    buckets: {},
    schedules: {},
  })
  table = aws.table<RevocationRecord>('revocation')
  const authority = new Authority({ revocations: { table, now: () => 77 } })
  const log = () => {}
  const receipts = {} as ReceiptLog
  const server = new Server({
    id: service,
    authority,
    handlers: [provide(filecoinOffer, async () => ({ out: { ok: {} } }))],
    receipts,
    log,
  })
  api = createHttpApp({ server, receipts, name: 'revocable', log })
})
afterAll(() => world?.stop())

let count = 0
const delegate = (issuer: Signer, audience: Signer, proofs: DelegationView[] = []) =>
  Delegation.delegate({
    issuer,
    audience,
    proofs,
    capabilities: [{ can: 'filecoin/*', with: space.did() }],
    expiration: Infinity,
    // Each test has a separate chain.
    nonce: `${count++}`,
  }) as Promise<DelegationView>

/** Delegations from the space to its team, and from the team to an agent. */
const chain = async () => {
  const first = await delegate(space, team)
  return { first, second: await delegate(team, agent, [first]) }
}

const offer = (proofs: DelegationView[], issuer: Signer = agent): Promise<Receipt> =>
  ask(
    api,
    filecoinOffer.invoke({
      issuer,
      audience: service,
      with: space.did(),
      nb: { content: linkOf(bytesOf('c', 9)), piece: somePiece('p') } as never,
      proofs,
    }),
  )

/** Revokes a delegation, by default with its chain attached. */
const takeBack = async (
  issuer: Signer,
  ucan: DelegationView,
  along: DelegationView[] = [ucan],
): Promise<Receipt> => {
  const invocation = invoke({
    issuer,
    audience: service,
    capability: {
      can: revoke.can,
      with: issuer.did(),
      nb: { ucan: ucan.cid, proof: along.slice(1).map(({ cid }) => cid) },
    },
  })
  for (const { root } of along) invocation.attach(root)
  return ask(api, invocation as unknown as Invocation)
}

const errorOf = ({ out }: Receipt) => out.error as { name: string; message: string } | undefined

it('holds a revocation of earlier code, which named the CID', async () => {
  const { second } = await chain()
  expect((await offer([second])).out.ok).toBeDefined()
  await table.insert({ ucan: `${second.cid}`, by: team.did(), revokedAt: 1 })
  expect(errorOf(await offer([second]))).toMatchObject({
    name: 'Unauthorized',
    message: expect.stringContaining('revoked'),
  })
})

describe('ucan/revoke', () => {
  it.each<[string, 'first' | 'second', Signer]>([
    ['the space revokes its delegation', 'first', space],
    ['the team revokes the delegation to itself', 'first', team],
    ['the team revokes its delegation', 'second', team],
    ['the agent revokes the delegation to itself', 'second', agent],
    ['the space revokes the team’s delegation', 'second', space],
  ])('%s: from then on it authorizes nothing', async (_, which, by) => {
    const links = await chain()
    expect((await offer([links.second])).out.ok).toBeDefined()
    const along = which === 'first' ? [links.first] : [links.second, links.first]
    expect((await takeBack(by, links[which], along)).out).toEqual({ ok: { time: 77 } })
    const refused = errorOf(await offer([links.second]))
    expect(refused).toMatchObject({ name: 'Unauthorized', message: expect.stringContaining('revoked') })
    expect((await takeBack(by, links[which], along)).out, 'again').toEqual({ ok: { time: 77 } })
  })

  it('does not affect other chains', async () => {
    const { second } = await chain()
    const other = await chain()
    await takeBack(team, second)
    expect((await offer([other.second])).out.ok).toBeDefined()
    expect((await offer([], space)).out.ok, 'the space needs none').toBeDefined()
  })

  it.each<[string, string, (links: Awaited<ReturnType<typeof chain>>) => Promise<Receipt>]>([
    [
      'by a stranger',
      'UnauthorizedRevocation',
      ({ first, second }) => takeBack(stranger, second, [second, first]),
    ],
    [
      'by a principal that is not on the attached part',
      'UnauthorizedRevocation',
      ({ second }) => takeBack(space, second),
    ],
    ['without the delegation', 'UCANNotFound', ({ second }) => takeBack(team, second, [])],
    [
      'by the agent, of the delegation above its own',
      'UnauthorizedRevocation',
      ({ first }) => takeBack(agent, first),
    ],
  ])('%s is rejected, and changes nothing', async (_, name, make) => {
    const links = await chain()
    expect(errorOf(await make(links))).toMatchObject({ name })
    expect((await offer([links.second])).out.ok).toBeDefined()
  })

  it('with another principal as the resource is rejected', async () => {
    const { first, second } = await chain()
    const invocation = invoke({
      issuer: stranger,
      audience: service,
      capability: { can: revoke.can, with: team.did(), nb: { ucan: second.cid } },
    })
    invocation.attach(second.root)
    expect(errorOf(await ask(api, invocation as unknown as Invocation))).toMatchObject({
      name: 'Unauthorized',
    })
    expect((await offer([second])).out.ok).toBeDefined()
    expect(first).toBeDefined()
  })
})
