import { type SpaceIndexAddMeta, type SpaceIndexAddSuccess, spaceIndexAdd } from '@w3filecoin/capabilities'
import { type Handler, provide } from '@w3filecoin/runtime'

const META: SpaceIndexAddMeta = { index: 'not published' }

/** `space/index/add`: published clients send it after an upload. The storefront publishes no indexes, and says so. */
export const spaceIndexAddHandler = (): Handler =>
  provide(spaceIndexAdd, async () => ({ out: { ok: {} satisfies SpaceIndexAddSuccess }, meta: META }))
