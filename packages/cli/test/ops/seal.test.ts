import { resources } from '@w3filecoin/aggregator/resources'
import { openTables, type Tables } from '@w3filecoin/aws'
import { placesOf } from '@w3filecoin/local/provision'
import { type Provided, startWorld, type World } from '@w3filecoin/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { sealGroup } from '../../src/ops/seal.ts'
import type { Target } from '../../src/ops/target.ts'

const NOW = Date.UTC(2026, 0, 1)
const [ONE, TWO] = ['did:key:one', 'did:key:two'] as const

let world: World
let aggregator: Provided<typeof resources>
let target: Target
let tables: Tables | undefined

beforeAll(async () => {
  world = await startWorld()
  const sqs = process.env.AWS_ENDPOINT_URL_SQS as string
  tables = await openTables(world.env)
  aggregator = await world.provide(resources)
  target = { env: {}, placesOf: async service => placesOf({ resources, service, sqs }) }
})
afterAll(() => world.stop())

const groups = () => aggregator.table<object>('group')
const put = (id: string, storefront: string, group: string, open: unknown[] = []) =>
  groups().putMany([{ id, storefront, group, sequence: 0, open }])
const seal = (group: string, storefront?: string) =>
  sealGroup({ target, tables, group, storefront, now: () => NOW })

describe('a seal by hand', () => {
  beforeEach(async () => {
    await groups().removeMany(['one', 'two', 'alone'].map(id => ({ id })))
    await aggregator.drain('seal')
  })

  it('of an unknown group fails, and the error lists the groups', async () => {
    await expect(seal('alone')).rejects.toThrow('There is no group alone: no piece was offered yet.')
    await put('one', ONE, 'twice')
    await put('two', TWO, 'twice')
    const list = `The groups are twice (${ONE}), twice (${TWO}).`
    await expect(seal('alone')).rejects.toThrow(`There is no group alone. ${list}`)
    await expect(seal('twice', 'did:key:three')).rejects.toThrow(
      `There is no group twice of did:key:three. ${list}`,
    )
  })

  it('of a group that several storefronts have fails without the storefront', async () => {
    await put('one', ONE, 'twice')
    await put('two', TWO, 'twice')
    await expect(seal('twice')).rejects.toThrow(
      `2 storefronts have a group twice: ${ONE}, ${TWO}. Choose one with --storefront.`,
    )
  })

  it('of a group without pieces, or with four open seals, fails', async () => {
    await put('one', ONE, 'twice', [1, 2, 3, 4])
    await put('two', TWO, 'twice')
    await expect(seal('twice', ONE)).rejects.toThrow(
      `Group twice of ${ONE} has 4 aggregates whose pieces have no receipts yet. Try again when one of them is complete.`,
    )
    await expect(seal('twice', TWO)).rejects.toThrow(
      `Group twice of ${TWO} has no piece that waits for an aggregate: there is nothing to seal.`,
    )
    expect(await aggregator.drain('seal')).toEqual([])
  })

  it('sends the aggregator a message that ignores the minimum', async () => {
    await put('alone', ONE, 'alone')
    await aggregator.table<object>('pending').putMany([{ group: 'alone', order: '1-0-a' }])
    await aggregator.table<object>('tally').add({ id: 'alone' }, { pieces: 1, bytes: 128 })
    expect(await seal('alone')).toEqual({ group: 'alone', storefront: ONE, pieces: 1, bytes: 128 })
    const sent = (await aggregator.drain('seal')).map(({ Body }) => JSON.parse(Body as string))
    expect(sent).toEqual([{ v: 1, group: 'alone', id: `ops-${NOW}`, belowMinimum: true }])
  })
})
