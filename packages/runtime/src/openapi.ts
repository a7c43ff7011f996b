import * as z from 'zod'
import manifest from '../package.json' with { type: 'json' }
import { receiptNotFound } from './receipts/progress.ts'
import { receiptJson } from './receipts/receipt-json.ts'
import { receiptsAnswer, receiptsRequest, receiptTooLarge } from './receipts/receipt-routes.ts'
import { CAR } from './ucan/message.ts'

/** Operations by path and method, as OpenAPI 3.1 describes them. */
export type OpenApiPaths = Record<string, Record<string, OpenApiOperation>>

export interface OpenApiOperation {
  summary: string
  parameters?: {
    name: string
    in: 'path' | 'header'
    required: boolean
    schema: object
    description?: string
  }[]
  requestBody?: { required: true; content: Record<string, object> }
  responses: Record<string, { description: string; headers?: object; content?: Record<string, object> }>
}

/** The answer to `GET /`. */
const about = z.looseObject({
  name: z.string().describe('The name of the service, e.g. `storefront`'),
  did: z.string(),
  version: z.string(),
  content: z
    .object({
      from: z.enum(['bucket', 'gateway']).describe('Where the storefront reads content'),
      upload: z.string().optional().describe('URL template for a PUT of content, with {cid}'),
      uploads: z
        .enum(['open', 'listed'])
        .optional()
        .describe('The spaces that get addresses for uploads by space/blob/add'),
    })
    .optional(),
})

const didDocument = z.object({
  '@context': z.array(z.string()),
  id: z.string(),
  alsoKnownAs: z.array(z.string()).optional(),
  verificationMethod: z.array(
    z.object({
      id: z.string(),
      type: z.literal('Multikey'),
      controller: z.string(),
      publicKeyMultibase: z.string(),
    }),
  ),
  authentication: z.array(z.string()),
  assertionMethod: z.array(z.string()),
})

const refusal = z.object({ name: z.string(), message: z.string() })

/** Fields that a description does not name may be in an answer: later versions may add some. */
const json = (schema: z.ZodType) => {
  const { $schema: _, ...described } = z.toJSONSchema(schema, { io: 'input' })
  return { 'application/json': { schema: described } }
}

const car = { [CAR]: { schema: { type: 'string', format: 'binary' } } }
const text = { 'text/plain': { schema: { type: 'string' } } }
const retryAfter = {
  'Retry-After': {
    description: 'Seconds after which the next question makes sense',
    schema: { type: 'integer' },
  },
}

const COMMON_PATHS: OpenApiPaths = {
  '/': {
    get: {
      summary: 'The name, DID and version of the service',
      responses: { 200: { description: 'Public facts about the service', content: json(about) } },
    },
  },
  '/.well-known/did.json': {
    get: {
      summary: 'The DID document of the service, with all its keys',
      responses: { 200: { description: 'The DID document', content: json(didDocument) } },
    },
  },
  '/receipt/{task}': {
    get: {
      summary: 'The signed receipt of a task, or the progress of a task that has none yet',
      parameters: [
        {
          name: 'task',
          in: 'path',
          required: true,
          schema: { type: 'string' },
          description: 'CID of the task, in any multibase encoding',
        },
        {
          name: 'Accept',
          in: 'header',
          required: false,
          schema: { type: 'string', default: CAR },
          description: `application/json, or ${CAR}, which is the default. The signature covers the blocks of the CAR`,
        },
      ],
      responses: {
        200: { description: 'The receipt', content: { ...json(receiptJson), ...car } },
        302: { description: 'The CAR is large, and at this address' },
        307: { description: 'The next service of the chain may have the receipt' },
        400: { description: 'The text is not a CID', content: { ...json(refusal), ...text } },
        404: {
          description: 'There is no receipt yet, or no task has this CID',
          headers: retryAfter,
          content: { ...json(z.union([receiptNotFound, refusal])), ...text },
        },
        406: { description: 'The receipt is served as a CAR only', content: json(receiptTooLarge) },
      },
    },
  },
  '/receipts': {
    post: {
      summary: 'The receipts of many tasks, and the progress of those without one',
      requestBody: { required: true, content: json(receiptsRequest) },
      responses: {
        200: {
          description: `An entry for each task; with Accept: ${CAR}, an agent message with the receipts that exist. Retry-After is 0 if the CAR had no room for all`,
          headers: retryAfter,
          content: { ...json(receiptsAnswer), ...car },
        },
        400: { description: 'The body is not such a request', content: json(refusal) },
        413: { description: 'The body is too large', content: json(refusal) },
      },
    },
  },
}

/**
 * Returns the OpenAPI 3.1 description of the routes of a service that answer in JSON, or with a redirect. Invocations are CARs of
 * UCANs, which docs/protocol.md describes.
 *
 * @param name the name of the service
 * @param paths further routes of the service
 */
export const describeApi = (name: string, paths: OpenApiPaths = {}): object => ({
  openapi: '3.1.0',
  info: {
    title: `W3 Filecoin ${name}`,
    version: manifest.version,
    description:
      'The routes for reading. POST / takes UCAN invocations, as the W3 Filecoin Protocol defines them',
  },
  servers: [{ url: '/' }],
  paths: { ...COMMON_PATHS, ...paths },
})
