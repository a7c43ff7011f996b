import type { Invocation, IssuedInvocation, Receipt } from '@ucanto/interface'
import {
  decodeCar,
  encodeMessage,
  type Message,
  receiptIn,
  type Service,
  viewMessage,
} from '@w3filecoin/runtime'

type Api = Service['api']

/** Sends invocations to a service in one message, and returns their receipts in the same order. */
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
    body: await encodeMessage({ invocations: tasks }),
  })
  if (!response.ok) throw new Error(`The service answered ${response.status}: ${await response.text()}`)
  const message = messageIn(new Uint8Array(await response.arrayBuffer()))
  return tasks.map(task => receiptOf(message, task.cid))
}

/** Does {@link call} with one invocation. */
export const ask = async (api: Api, invocation: Invocation | IssuedInvocation): Promise<Receipt> =>
  (await call(api, invocation))[0]!

/** Fetches the receipt of a task from a service; `undefined` if there is none. */
export const served = async (api: Api, task: { toString(): string }): Promise<Receipt | undefined> => {
  const response = await api.request(`/receipt/${task}`)
  if (response.status === 404) return undefined
  if (!response.ok) throw new Error(`The service answered ${response.status}: ${await response.text()}`)
  return receiptOf(messageIn(new Uint8Array(await response.arrayBuffer())), task)
}

/** Decodes the agent message in a CAR. */
export const messageIn = (car: Uint8Array): Message => {
  const { roots, blocks } = decodeCar(car)
  return viewMessage(roots[0]!.cid, blocks)
}

const receiptOf = (message: Message, task: { toString(): string }): Receipt => {
  const receipt = receiptIn(message, `${task}`)
  if (receipt === undefined) throw new Error(`The message has no receipt of ${task}`)
  return receipt
}

/** Returns the CIDs of a receipt's effects, as text. */
export const effectsOf = ({ fx }: Receipt) => ({
  fork: fx.fork.map(task => `${task.link()}`),
  join: fx.join && `${fx.join.link()}`,
})
