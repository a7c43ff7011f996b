import type { Context } from 'hono'

/** Pause after which a storage provider shall ask again for bytes that it cannot fetch yet. */
const RETRY_AFTER_SECONDS = 60

const text = { 'text/plain': { schema: { type: 'string' } } }

/** A parameter of a route at which storage providers fetch bytes, for the OpenAPI description. */
export const describeParameter = (name: string, description: string) => ({
  name,
  in: 'path' as const,
  required: true,
  schema: { type: 'string' },
  description,
})

/** The responses of such a route. */
export const DOOR_RESPONSES = {
  200: {
    description: 'The content, if its CID contains it; to HEAD, the length of the content',
    content: { 'application/octet-stream': { schema: { type: 'string', format: 'binary' } } },
  },
  302: { description: 'The address of the content' },
  400: { description: 'The text is not a piece CID, or names pieces of several sizes', content: text },
  403: { description: 'The permit is missing, is not valid, or is not for this piece', content: text },
  404: { description: 'The piece is not known here, or its content cannot be fetched', content: text },
  429: {
    description: 'The piece cannot be fetched yet',
    headers: { 'Retry-After': { description: 'Seconds', schema: { type: 'integer' } } },
    content: text,
  },
}

/** Returns the headers of bytes that storage providers fetch. */
export const headersOf = (bytes: number) => ({
  'content-type': 'application/octet-stream',
  'content-length': `${bytes}`,
  'cache-control': 'no-store',
})

/**
 * Redirects to bytes. HEAD is answered with their number: the address behind the redirect may be signed for GET only.
 *
 * @param locate returns the address
 */
export const redirectToBytes = async (
  context: Context,
  bytes: number,
  locate: () => Promise<string>,
): Promise<Response> => {
  if (context.req.method === 'HEAD')
    return new Response(null, { status: 200, headers: { ...headersOf(bytes), 'accept-ranges': 'bytes' } })
  context.header('cache-control', 'no-store')
  return context.redirect(await locate())
}

/** Answers that bytes cannot be fetched yet. Storage providers take 404 and 503 as final, but not 429. */
export const answerLater = (context: Context, reason: string): Response =>
  context.text(`${reason}, but may be soon`, 429, { 'retry-after': `${RETRY_AFTER_SECONDS}` })
