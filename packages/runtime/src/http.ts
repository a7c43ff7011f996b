import { Hono } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { cors } from 'hono/cors'
import manifest from '../package.json' with { type: 'json' }
import { describeApi, type OpenApiPaths } from './openapi.ts'
import type { Log } from './ports.ts'
import { addReceiptRoutes, type ReceiptRoutesOptions } from './receipts/receipt-routes.ts'
import { CAR, decodeMessage, encodeAnswer, MESSAGE_LIMITS, type MessageLimits } from './ucan/message.ts'
import type { Server } from './ucan/server.ts'
import { addWebPage, type WebPage } from './web-page.ts'

export interface HttpOptions extends ReceiptRoutesOptions {
  server: Server
  /** The name of the service at `GET /`. */
  name: string
  /** Further routes of the service, for its OpenAPI description. */
  paths?: OpenApiPaths | undefined
  /** Further public facts about the service at `GET /`. */
  about?: object | undefined
  /** The web page, which browsers get at `GET /` and `GET /receipt/{task}`. */
  page?: WebPage | undefined
  limits?: MessageLimits
  log: Log
}

/** Time for which a cache may serve the description of the routes. */
const DESCRIPTION_MAX_AGE_SECONDS = 3600

/** Time for which a browser may remember that web pages may call a service. Browsers have shorter limits. */
const PREFLIGHT_MAX_AGE_SECONDS = 86_400

/**
 * Returns the HTTP API of a service:
 *
 * - `POST /` runs the invocations in an agent message, and returns an agent message with their receipts. Both are CARs.
 * - `GET /receipt/{task}` returns the signed receipt of a task with the blocks of its effects, or the receipt as JSON; 404 with
 *   the progress of the task until it exists, and for CIDs that no task has. It accepts the CID in every multibase encoding, and redirects to a very large receipt. A service
 *   that takes dialects also redirects to the next service of the chain, which may have the receipt.
 * - `GET /.well-known/did.json` returns the keys of the service (did:web).
 * - `POST /receipts` returns the receipts or the progress of many tasks.
 * - `GET /openapi.json` describes the routes that do not take invocations.
 * - `GET /` returns its name, DID and version, and what else is public about it.
 *
 * A browser that asks for HTML gets the web page at `GET /` and `GET /receipt/{task}`, if the service has one.
 *
 * Web pages of any origin may call it (CORS), because callers authenticate by signatures, never by cookies.
 */
export const createHttpApp = ({
  server,
  receipts,
  name,
  about,
  page,
  paths,
  limits = MESSAGE_LIMITS,
  log,
  ...receiptRoutes
}: HttpOptions): Hono => {
  const app = new Hono()
  const did = server.id.did()

  app.use(
    cors({
      allowMethods: ['GET', 'HEAD', 'POST'],
      exposeHeaders: ['Retry-After'],
      maxAge: PREFLIGHT_MAX_AGE_SECONDS,
    }),
  )

  if (page) addWebPage(app, page)

  app.get('/', context => context.json({ name, did, version: manifest.version, ...about }))

  app.get('/openapi.json', context => {
    context.header('cache-control', `public, max-age=${DESCRIPTION_MAX_AGE_SECONDS}`)
    return context.json(describeApi(name, paths))
  })

  app.get('/.well-known/did.json', context => {
    const methods = server.keys.map((key, n) => ({
      id: `${did}#key-${n}`,
      type: 'Multikey',
      controller: did,
      publicKeyMultibase: key.slice('did:key:'.length),
    }))
    const ids = methods.map(({ id }) => id)
    return context.json({
      '@context': ['https://www.w3.org/ns/did/v1', 'https://w3id.org/security/multikey/v1'],
      id: did,
      ...(server.aliases.length > 0 && { alsoKnownAs: server.aliases }),
      verificationMethod: methods,
      authentication: ids,
      assertionMethod: ids,
    })
  })

  addReceiptRoutes(app, { receipts, ...receiptRoutes })

  const tooLarge = `The message is too large; at most ${limits.bytes} bytes are allowed`
  const bounded = bodyLimit({ maxSize: limits.bytes, onError: context => context.text(tooLarge, 413) })

  app.post('/', bounded, async context => {
    const type = context.req.header('content-type')?.split(';')[0]?.trim().toLowerCase()
    if (type !== CAR) return context.text(`Send an agent message with content-type ${CAR}`, 415)
    const message = decodeMessage(new Uint8Array(await context.req.arrayBuffer()), limits)
    if (message.error)
      return context.text(message.error.message, message.error.name === 'MessageTooLarge' ? 413 : 400)
    const receipts = await server.execute(message.ok, limits)
    const answer = await encodeAnswer(receipts, message.ok.ucans.blocks, limits)
    if (answer.error) return context.text(answer.error.message, 413)
    return context.body(answer.ok, 200, { 'content-type': CAR })
  })

  app.notFound(context => context.text('Not found', 404))

  app.onError((cause, context) => {
    log('error', 'request failed', { method: context.req.method, path: context.req.path, cause })
    return context.text('The service failed; try again later', 500)
  })

  return app
}
