import type { AddEvent, Offered, Proof, Storefront, WorkflowEvent } from '@w3filecoin/client'
import { expect, it } from 'vitest'
import { Followed } from '../../src/user/followed.ts'

const RETRY: AddEvent = { type: 'retry', attempt: 1, pauseMs: 1_000, reason: 'it answered 503' }
const offers = ['one', 'two'].map(accept => ({ accept }) as Offered) as [Offered, Offered]

it('reports a failed question to the files that have not ended, also if two have the same content', async () => {
  const proof = {} as Proof
  const { promise: mayEnd, resolve: end } = Promise.withResolvers<void>()
  const w3: Pick<Storefront, 'watchAll'> = {
    async *watchAll(_, { onRetry } = {}) {
      yield { type: 'accepted', workflow: offers[0], proof } as unknown as WorkflowEvent<never>
      await mayEnd
      onRetry!(RETRY as never)
      yield { type: 'accepted', workflow: offers[1], proof } as unknown as WorkflowEvent<never>
    },
  }
  const followed = new Followed(w3 as Storefront, new AbortController().signal)
  const reported: string[] = []
  const follow = (file: string, offer: Offered) =>
    followed.follow(offer, ({ type }) => reported.push(`${file} ${type}`))
  const waiting = follow('b', offers[1])
  await follow('a', offers[0])
  expect(await follow('copy of a', offers[0])).toBe(proof)
  end()
  await waiting
  expect(reported).toEqual(['b retry'])
})
