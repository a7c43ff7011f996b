import { createHash, createHmac, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { CREDENTIALS } from './credentials.ts'

/**
 * Presigned URLs of S3 (AWS Signature Version 4, query parameters):
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html
 */

/** Why S3 refuses a presigned URL, with the code that S3 has for it. */
interface Refusal {
  code: 'AccessDenied' | 'SignatureDoesNotMatch'
  message: string
}

export const isPresigned = (query: URLSearchParams): boolean => query.has('X-Amz-Signature')

/**
 * Returns why a presigned request is refused; `undefined` if it is not. The signature covers the method, the path, the query,
 * and the headers that `X-Amz-SignedHeaders` names.
 *
 * @param path as it was sent, e.g. `/storefront-uploads/bafkrei…`
 * @param now in milliseconds since 1970
 */
export const checkPresigned = (
  { method, headers }: Pick<IncomingMessage, 'method' | 'headers'>,
  path: string,
  query: URLSearchParams,
  now: number,
): Refusal | undefined => {
  const value = (name: string) => query.get(name) ?? ''
  const date = value('X-Amz-Date')
  const [year, day, time] = [date.slice(0, 4), `${date.slice(4, 6)}-${date.slice(6, 8)}`, date.slice(9, 15)]
  const signedAt = Date.parse(`${year}-${day}T${time.replace(/(..)(..)(..)/, '$1:$2:$3')}Z`)
  // Also if it is not a number.
  if (!(now < signedAt + Number(value('X-Amz-Expires')) * 1000))
    return { code: 'AccessDenied', message: 'Request has expired' }
  const names = value('X-Amz-SignedHeaders').split(';')
  const canonical = [
    method,
    path,
    [...query]
      .filter(([name]) => name !== 'X-Amz-Signature')
      .map(([name, text]) => `${encode(name)}=${encode(text)}`)
      .sort()
      .join('&'),
    ...names.map(name => `${name}:${`${headers[name] ?? ''}`.trim()}`),
    '',
    names.join(';'),
    'UNSIGNED-PAYLOAD',
  ].join('\n')
  const [, ...scope] = value('X-Amz-Credential').split('/')
  const text = [
    'AWS4-HMAC-SHA256',
    date,
    scope.join('/'),
    createHash('sha256').update(canonical).digest('hex'),
  ].join('\n')
  const key = scope.reduce<string | Buffer>(
    (key, part) => createHmac('sha256', key).update(part).digest(),
    `AWS4${CREDENTIALS.secretAccessKey}`,
  )
  const expected = createHmac('sha256', key).update(text).digest()
  const signature = Buffer.from(value('X-Amz-Signature'), 'hex')
  return signature.byteLength === expected.byteLength && timingSafeEqual(signature, expected)
    ? undefined
    : {
        code: 'SignatureDoesNotMatch',
        message: 'The request signature does not match. Send the method and the headers that were signed.',
      }
}

const encode = (text: string): string =>
  encodeURIComponent(text).replaceAll(
    /[!'()*]/g,
    letter => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`,
  )
