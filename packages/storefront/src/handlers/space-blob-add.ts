import type { DID } from '@ucanto/interface'
import { type SpaceBlobAddSuccess, spaceBlobAdd, type UnknownLink } from '@w3filecoin/capabilities'
import { type Handler, provide } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { findActingSpace } from '../workflow/acting-space.ts'
import { promiseUpload, type UploadDependencies } from '../workflow/promise-upload.ts'

/**
 * `space/blob/add`: gives an agent an address for an upload. See decision 0071. The receipt is not stored, because the address
 * expires within minutes: a repeated invocation gets a new one.
 */
export const spaceBlobAddHandler = (
  dependencies: UploadDependencies & Pick<Dependencies, 'authority'>,
): Handler =>
  provide(spaceBlobAdd, async ({ capability, ...input }) => {
    const promised = await promiseUpload(dependencies, {
      blob: capability.nb.blob,
      resource: capability.with as DID,
      space: await findActingSpace(dependencies, spaceBlobAdd, input),
      cause: input.invocation.cid,
    })
    if (promised.error) return { out: promised }
    const { acceptTask, effects } = promised.ok
    const ok: SpaceBlobAddSuccess = {
      site: { 'ucan/await': ['.out.ok.site', acceptTask.cid as UnknownLink] },
    }
    return { out: { ok }, fx: { fork: effects } }
  })
