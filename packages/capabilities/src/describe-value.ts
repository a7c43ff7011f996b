import type { UnknownLink } from 'multiformats'

/** Maximum length of a text in a message. */
const MAX_TEXT_CHARACTERS = 150
/** Maximum number of keys of a map, and of bytes of a byte string, in a message. */
const MAX_KEYS = 4
const MAX_BYTES = 16

/** Cuts a text. A surrogate pair stays whole. */
export const cutText = (text: string): string =>
  text.length > MAX_TEXT_CHARACTERS ? `${text.slice(0, MAX_TEXT_CHARACTERS).toWellFormed()}…` : text

/** Replaces control, format and private-use characters: a terminal that shows the text must not obey it. */
export const escapeControls = (text: string): string =>
  text.replace(/[\p{C}\u2028\u2029]/gu, character => `\\u{${character.codePointAt(0)!.toString(16)}}`)

const quote = (text: string): string => escapeControls(JSON.stringify(cutText(text)))

/**
 * Describes a value from a UCAN in a short text that is safe to print.
 *
 * @example describeValue('offer') // '"offer"'
 * @example describeValue({ a: 1 }) // 'a map with the keys "a"'
 */
export const describeValue = (value: unknown): string => {
  if (value === undefined) return 'nothing'
  if (typeof value === 'string') return quote(value)
  if (typeof value !== 'object' || value === null) return `${value as number | boolean | null}`
  if (isLink(value)) return `${value}`
  if (value instanceof Uint8Array) {
    const hex = Buffer.from(value.subarray(0, MAX_BYTES)).toString('hex')
    return `${value.byteLength} bytes (0x${hex}${value.byteLength > MAX_BYTES ? '…' : ''})`
  }
  if (Array.isArray(value)) return `a list of ${value.length} values`
  const keys = Object.keys(value)
  if (keys.length === 0) return 'an empty map'
  const shown = keys.slice(0, MAX_KEYS).map(key => quote(key.slice(0, 30)))
  return `a map with the keys ${shown.join(', ')}${keys.length > MAX_KEYS ? ', …' : ''}`
}

/** A map `{ '/': 'x', bytes: 'x' }` passes for a link in multiformats. Only a link refers to itself. */
export const isLink = (value: unknown): value is UnknownLink =>
  typeof value === 'object' && value !== null && (value as { asCID?: unknown }).asCID === value
