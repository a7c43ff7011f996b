import { filecoinSubmit } from '@w3filecoin/capabilities'
import { type Handler, promisedTask } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { findPromise } from '../workflow/promises.ts'

/** `filecoin/submit`: returns the receipt that says whether the content hashes to the piece, once it exists. */
export const filecoinSubmitHandler = (dependencies: Pick<Dependencies, 'id' | 'stores'>): Handler =>
  promisedTask(filecoinSubmit, dependencies.stores.receipts, ({ capability: { nb }, invocation }) =>
    findPromise(dependencies, 'submit', nb, invocation),
  )
