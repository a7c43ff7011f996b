import { type Client, create } from '@storacha/client'
import * as Service from '@storacha/client/service'
import { StoreMemory } from '@storacha/client/stores/memory'
import type { DID } from '@ucanto/interface'
import { principal } from '@w3filecoin/runtime'

/** The published `@storacha/client`, as an application uses it. */

/** Returns the connections of a client to a service. */
export const connectStoracha = (service: { did: DID; url: string }) => {
  const options = { id: principal(service.did), url: new URL(service.url) }
  return {
    access: Service.accessServiceConnection(options),
    upload: Service.uploadServiceConnection(options),
    filecoin: Service.filecoinServiceConnection(options),
    gateway: Service.gatewayServiceConnection(options),
  }
}

/** Creates a client as a Node application does, with a separate agent. Its key is an Ed25519 key. */
export const createStoracha = (
  service: { did: DID; url: string },
  build: { create: typeof create } = { create },
): Promise<Client> =>
  build.create({
    store: new StoreMemory(),
    serviceConf: connectStoracha(service),
    receiptsEndpoint: new URL('/receipt/', service.url),
  })

/** Creates a space that the client may use, and that the client uses from now on. */
export const createSpace = async (client: Client) => {
  const space = await client.createSpace('photos', { skipGatewayAuthorization: true })
  await space.save()
  return space
}
