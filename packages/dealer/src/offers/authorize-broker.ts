import { refuseStranger } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'

/** Returns the failure `UnknownBroker` of an invocation whose resource is neither the dealer nor one of its brokers. See `refuseStranger`. */
export const refuseUnlessBroker = (
  { id, brokers }: Pick<Dependencies, 'id' | 'brokers'>,
  input: Parameters<typeof refuseStranger>[1],
) =>
  refuseStranger('UnknownBroker', input, {
    self: id,
    listed: brokers,
    setting: 'brokers',
    command: 'w3fil broker add',
  })
