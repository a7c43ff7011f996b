import type { Hono } from 'hono'
import type { Consumer } from './messages/consumer.ts'
import type { MessageOf } from './messages/message-format.ts'
import type { Resources } from './resources.ts'
import type { MessageFormats } from './stores.ts'

/** A service: the code of each function that its resources describe. */
export interface Service<R extends Resources = Resources, M extends MessageFormats<R> = MessageFormats<R>> {
  /** Answers every HTTP request. */
  api: Hono
  /** By the name of their queue. */
  consumers: { [Q in keyof R['queues']]: Consumer<MessageOf<M[Q]>> }
  /** By the name of their schedule. */
  schedules: { [S in keyof R['schedules']]: () => Promise<void> }
}
