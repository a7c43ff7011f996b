import { contentSizeOf, parsePiece } from '@w3filecoin/piece'
import {
  answerLater,
  DOOR_RESPONSES,
  describeParameter,
  type OpenApiPaths,
  readPermit,
  redirectToBytes,
} from '@w3filecoin/runtime'
import type { Hono } from 'hono'
import type { Dependencies } from './dependencies.ts'

const operation = {
  summary: 'The payload of a whole aggregate, for a storage provider that is asked to store it',
  parameters: [
    describeParameter('permit', 'A permit that the dealer signed, as in its order'),
    describeParameter('piece', 'Piece CID of the aggregate'),
  ],
  responses: DOOR_RESPONSES,
}

/** The description of the route of {@link addWholeDoor}. */
export const WHOLE_DOOR: OpenApiPaths = { '/{permit}/piece/{piece}': { get: operation, head: operation } }

/**
 * Adds the route at which storage providers fetch whole aggregates: `GET /{permit}/piece/{piece}` redirects (302) to the payload,
 * for those with a permit of this dealer. The address ends with `/piece/` and the piece CID, because some providers check that.
 */
export const addWholeDoor = (
  api: Hono,
  {
    id,
    authority,
    stores,
    wholes,
    now,
  }: Pick<Dependencies, 'id' | 'authority' | 'stores' | 'wholes' | 'now'>,
): void => {
  api.get('/:permit/piece/:piece', async context => {
    const text = context.req.param('piece')
    const piece = parsePiece(text).ok
    if (piece === undefined) return context.text(`${text.slice(0, 200)} is not a piece CID`, 400)
    const aggregate = `${piece.link}`
    const self = id.did()
    const options = { authority, dealer: self, storefront: self, now: now() }
    const permit = await readPermit(context.req.param('permit'), options)
    if (permit?.aggregate !== aggregate)
      return context.text(`The permit has expired, or is not one of ${self} for ${aggregate}`, 403)
    const whole = await stores.whole.get({ id: aggregate })
    switch (whole?.stage) {
      case undefined:
        return context.text(`The aggregate ${aggregate} is not known here`, 404)
      case 'faulty':
        return context.text(`The payload of ${aggregate} cannot be produced: a piece is wrong`, 404)
      case 'ready':
        return redirectToBytes(context, contentSizeOf(piece), () => wholes.locate(aggregate))
      default:
        return answerLater(context, `The aggregate ${aggregate} is not complete`)
    }
  })
}
