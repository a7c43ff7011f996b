import { type UploadAddMeta, type UploadAddSuccess, uploadAdd } from '@w3filecoin/capabilities'
import { type Handler, provide } from '@w3filecoin/runtime'

const META: UploadAddMeta = { upload: 'not listed' }

/** `upload/add`: published clients send it after an upload. The storefront keeps no list of uploads, and says so. */
export const uploadAddHandler = (): Handler =>
  provide(uploadAdd, async ({ capability: { nb } }) => {
    const { root, shards } = nb
    return { out: { ok: { root, ...(shards && { shards }) } as UploadAddSuccess }, meta: META }
  })
