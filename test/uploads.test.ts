import { randomBytes } from 'node:crypto'
import { type Client, create } from '@storacha/client'
import * as Service from '@storacha/client/service'
import { StoreMemory } from '@storacha/client/stores/memory'
import type { FilecoinAcceptSuccess } from '@w3filecoin/capabilities'
import { type EncodedInclusion, verifyInclusion } from '@w3filecoin/piece'
import { principal } from '@w3filecoin/runtime'
import { expect, test, vi } from 'vitest'
import { awaitReceipt } from './receipts.ts'
import { sealsSmallAggregates, useSystem } from './system.ts'

/** Content arrives through addresses that the storefront gives, on the whole system. */
const system = useSystem({ configure: sealsSmallAggregates })
const { at } = system

/** Creates a published client whose agent owns a new space. */
const createClient = async (): Promise<Client> => {
  const { did, url } = at('storefront')
  const options = { id: principal(did), url: new URL(url) }
  const client = await create({
    store: new StoreMemory(),
    serviceConf: {
      access: Service.accessServiceConnection(options),
      upload: Service.uploadServiceConnection(options),
      filecoin: Service.filecoinServiceConnection(options),
      gateway: Service.gatewayServiceConnection(options),
    },
    receiptsEndpoint: new URL('/receipt/', url),
  })
  const space = await client.createSpace('photos', { skipGatewayAuthorization: true })
  await space.save()
  return client
}

test('K13: uploadFile of the published client brings a file to a deal', async () => {
  const client = await createClient()
  const accepts: string[] = []
  const { fetch } = globalThis
  vi.stubGlobal('fetch', fetch)
  const file = new Blob([randomBytes(300_000)])
  let piece: unknown
  const root = await client.uploadFile(file, { onShardStored: meta => (piece = meta.piece) })
  expect(`${root}`).toMatch(/^baf/)
  const { out } = await client.capability.filecoin.info(piece as never)
  console.dir(out, { depth: 6 })
})
