import { putValue } from '@w3filecoin/runtime'
import { expect, test } from 'vitest'
import { findMember, putMembers, readMembers } from '../src/sealing/members.ts'
import { dependencies } from './setup.ts'

const members = Array.from({ length: 50 }, (_, n) => ({ piece: `piece ${n}`, id: `record ${n}` }))
const ids = members.map(({ id }) => id).toSorted()

test.each([1, 4, 50, 400])('each piece of an aggregate is found in shards of about %d', async perShard => {
  const { stores } = dependencies
  const memberShards = await putMembers(stores, members, perShard)
  for (const { piece, id } of members)
    expect(await findMember(stores, { id: 'aggregate', memberShards }, piece)).toBe(id)
  expect(await findMember(stores, { id: 'aggregate', memberShards }, 'another piece')).toBeUndefined()
  expect((await readMembers(stores, { memberShards })).toSorted()).toEqual(ids)
})

test('the pieces of an aggregate that earlier code sealed are found by their rows', async () => {
  const { stores } = dependencies
  const list = await putValue(stores.blocks, ids)
  await stores.member.putMany(members.map(({ piece, id }) => ({ aggregate: 'earlier', piece, id })))
  expect(await findMember(stores, { id: 'earlier' }, 'piece 7')).toBe('record 7')
  expect(await findMember(stores, { id: 'earlier' }, 'another piece')).toBeUndefined()
  expect(await readMembers(stores, { members: list })).toEqual(ids)
})
