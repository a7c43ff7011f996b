import { CAR, Message } from '@ucanto/core'
import type { Invocation, IssuedInvocation, Receipt } from '@ucanto/interface'
import { encodeMessage, type Service } from '@w3filecoin/runtime'

type Api = Service['api']

/** Invocations in one message to a service, and its answer: a receipt each. */
export const call = async (
  api: Api,
  ...invocations: (Invocation | IssuedInvocation)[]
): Promise<Receipt[]> => {
  const tasks = await Promise.all(
    invocations.map(async invocation => (await invocation.buildIPLDView()) as unknown as Invocation),
  )
  const response = await api.request('/', {
    method: 'POST',
    headers: { 'content-type': 'application/vnd.ipld.car' },
    body: (await encodeMessage({ invocations: tasks })) as never,
  })
  if (!response.ok) throw new Error(`The service answered ${response.status}: ${await response.text()}`)
  const message = messageIn(new Uint8Array(await response.arrayBuffer()))
  return tasks.map(task => message.get(task.link() as never) as unknown as Receipt)
}

/** {@link call} for one. */
export const ask = async (api: Api, invocation: Invocation | IssuedInvocation): Promise<Receipt> =>
  (await call(api, invocation))[0]!

/** The receipt that a service serves for a task. */
export const served = async (api: Api, task: { toString(): string }): Promise<Receipt | undefined> => {
  const response = await api.request(`/receipt/${task}`)
  if (response.status === 404) return undefined
  if (!response.ok) throw new Error(`The service answered ${response.status}: ${await response.text()}`)
  return messageIn(new Uint8Array(await response.arrayBuffer())).get(`${task}` as never) as unknown as Receipt
}

export const messageIn = (car: Uint8Array) => {
  const { roots, blocks } = CAR.decode(car as never)
  return Message.view({ root: roots[0]!.cid as never, store: blocks as never })
}

/** CIDs of the tasks that follow, as text. */
export const effectsOf = ({ fx }: Receipt) => ({
  fork: fx.fork.map(task => `${task.link()}`),
  join: fx.join && `${fx.join.link()}`,
})
