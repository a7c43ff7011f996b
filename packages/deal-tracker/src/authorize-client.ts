import { refuseStranger } from '@w3filecoin/runtime'
import type { Dependencies } from './dependencies.ts'

/** Returns the failure `UnknownClient` of an invocation whose resource is neither the tracker nor one of its clients. See `refuseStranger`. */
export const refuseUnlessClient = (
  { id, clients }: Pick<Dependencies, 'id' | 'clients'>,
  input: Parameters<typeof refuseStranger>[1],
) =>
  refuseStranger('UnknownClient', input, {
    self: id,
    listed: clients,
    setting: 'clients',
    command: 'w3fil client add',
  })
