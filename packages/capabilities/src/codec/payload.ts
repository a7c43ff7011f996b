import type { Link } from '@ucanto/interface'
import { base64 } from 'multiformats/bases/base64'
import { isCid, UNCOMMON, type Uncommon } from './cbor.ts'
import type { DidView } from './did.ts'
import { linkText } from './link-text.ts'

/** The fields of a UCAN that are signed. */
export interface Payload {
  iss: DidView
  aud: DidView
  att: readonly object[]
  prf: readonly Link[]
  exp: number | null
  nbf?: number | undefined
  fct: readonly unknown[]
  nnc?: string | undefined
}

const MAX_DEPTH = 64

/**
 * Writes the bytes that the issuer of a UCAN signs, as `formatSignPayload` of `@ipld/dag-ucan` does: the header and payload of a
 * JWT in DAG-JSON. Returns {@link UNCOMMON} for a value that the published codec of DAG-JSON must write, e.g. a fraction.
 *
 * @param algorithm e.g. `EdDSA`
 * @param version of UCAN, e.g. `0.9.1`
 * @example 'eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCIsInVjdiI6IjAuOS4xIn0.eyJhdHQiOlt…'
 */
export const writePayload = (
  { iss, aud, att, prf, exp, nbf, fct, nnc }: Payload,
  algorithm: string,
  version: string,
): Uint8Array<ArrayBuffer> | Uncommon => {
  try {
    // The keys are in the order of DAG-JSON. Empty fields are left out.
    const json = `{"att":${writeList(att, 0)},"aud":${writeText(aud.did())},"exp":${writeValue(exp, 0)}${
      fct.length > 0 ? `,"fct":${writeList(fct, 0)}` : ''
    },"iss":${writeText(iss.did())}${nbf ? `,"nbf":${writeValue(nbf, 0)}` : ''}${
      nnc ? `,"nnc":${writeText(nnc)}` : ''
    },"prf":[${prf.map(link => `"${linkText(link)}"`).join()}]}`
    return encode(`{"alg":${writeText(algorithm)},"typ":"JWT","ucv":${writeText(version)}}`, json)
  } catch (cause) {
    if (cause === UNCOMMON) return UNCOMMON
    throw cause
  }
}

const writeValue = (value: unknown, depth: number): string => {
  switch (typeof value) {
    case 'string':
      return writeText(value)
    case 'number':
      if (!Number.isSafeInteger(value)) throw UNCOMMON
      return `${value}`
    case 'boolean':
      return value ? 'true' : 'false'
    case 'object':
      return value === null ? 'null' : writeObject(value, depth)
    default:
      throw UNCOMMON
  }
}

const writeObject = (value: object, depth: number): string => {
  if (depth === MAX_DEPTH) throw UNCOMMON
  if (value instanceof Uint8Array) return `{"/":{"bytes":"${base64.baseEncode(value)}"}}`
  if (isCid(value)) return `{"/":"${linkText(value)}"}`
  if (Array.isArray(value)) return writeList(value, depth)
  if (Object.getPrototypeOf(value) !== Object.prototype) throw UNCOMMON
  let json = ''
  const keys = Object.keys(value)
  // The order of UTF-16 code units, as `<` compares texts.
  for (const key of keys.length > 1 ? keys.sort() : keys) {
    if (key === '/' || key === 'asCID' || key === '__proto__') throw UNCOMMON
    json += `${json === '' ? '' : ','}${writeText(key)}:${writeValue((value as Record<string, unknown>)[key], depth + 1)}`
  }
  return `{${json}}`
}

const writeList = (list: readonly unknown[], depth: number): string => {
  let json = ''
  for (let n = 0; n < list.length; n++)
    json += n === 0 ? writeValue(list[n], depth + 1) : `,${writeValue(list[n], depth + 1)}`
  return `[${json}]`
}

/** Characters that JSON writes as they are, one byte each. */
const PLAIN = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/

const writeText = (text: string): string => (PLAIN.test(text) ? `"${text}"` : JSON.stringify(text))

const ALPHABET = Uint8Array.from('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_', char =>
  char.charCodeAt(0),
)
const NOTHING = new Uint8Array()
const encoder = new TextEncoder()

/** The encoded headers, each with the dot after it. There are as many as algorithms. */
const headers = new Map<string, Uint8Array>()
const MAX_HEADERS = 64

const encode = (header: string, payload: string): Uint8Array<ArrayBuffer> => {
  let start = headers.get(header)
  if (start === undefined) {
    start = Uint8Array.of(...toBase64Url(NOTHING, encoder.encode(header)), '.'.charCodeAt(0))
    if (headers.size < MAX_HEADERS) headers.set(header, start)
  }
  return toBase64Url(start, encoder.encode(payload))
}

/** Returns `start`, followed by the bytes in base64url without padding. */
const toBase64Url = (start: Uint8Array, bytes: Uint8Array): Uint8Array<ArrayBuffer> => {
  const { byteLength } = bytes
  const text = new Uint8Array(start.byteLength + Math.ceil((byteLength * 4) / 3))
  text.set(start)
  let at = start.byteLength
  for (let n = 0; n < byteLength; n += 3) {
    // Bytes after the end are `undefined`, which is 0 here. A typed array ignores writes after its end.
    const bits = (bytes[n]! << 16) | (bytes[n + 1]! << 8) | bytes[n + 2]!
    text[at++] = ALPHABET[bits >> 18]!
    text[at++] = ALPHABET[(bits >> 12) & 63]!
    text[at++] = ALPHABET[(bits >> 6) & 63]!
    text[at++] = ALPHABET[bits & 63]!
  }
  return text
}
