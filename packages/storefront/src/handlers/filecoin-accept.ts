import { filecoinAccept } from '@w3filecoin/capabilities'
import { type Handler, promisedTask } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { findPromise } from '../workflow/promises.ts'

/** `filecoin/accept`: returns the receipt that ends the workflow of a piece, once it exists. */
export const filecoinAcceptHandler = (dependencies: Pick<Dependencies, 'id' | 'stores'>): Handler =>
  promisedTask(filecoinAccept, dependencies.stores.receipts, ({ capability: { nb }, invocation }) =>
    findPromise(dependencies, 'accept', nb, invocation),
  )
