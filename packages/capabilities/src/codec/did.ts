import { DID as Dids } from '@ucanto/core'
import type { DID, Principal } from '@ucanto/interface'

/** A DID as bytes, e.g. the multicodec and the bytes of a key, with its text. */
export type DidView = Uint8Array & Principal

/** Longer DIDs are not cached. The `did:key` of an RSA key of 4096 bits has 528 bytes. */
const MAX_CACHED_BYTES = 544
const MAX_CACHED = 4_096

const textsByBytes = new Map<string, DID>()
const viewsByText = new Map<string, DidView>()

/** Adds to a cache. A full cache starts again from empty. */
const remember = <T>(cache: Map<string, T>, key: string, value: T): T => {
  if (cache.size >= MAX_CACHED) cache.clear()
  cache.set(key, value)
  return value
}

/**
 * Reads the bytes of a DID. Throws if the library does not know their multicodec. The text of the DID is written once, when it is
 * needed: the time that base 58 takes grows with the square of the length, and is 10 µs for an Ed25519 key.
 */
export const readDid = (bytes: Uint8Array): DidView => {
  const view = Dids.decode(bytes as never) as unknown as DidView
  const write = view.did.bind(view)
  let text: DID | undefined
  const did = () => {
    text ??= writeDid(bytes, write)
    return text
  }
  return Object.defineProperty(view, 'did', { value: did })
}

const writeDid = (bytes: Uint8Array, write: () => DID): DID => {
  if (bytes.byteLength > MAX_CACHED_BYTES) return write()
  const key = String.fromCharCode(...bytes)
  return textsByBytes.get(key) ?? remember(textsByBytes, key, write())
}

/** Parses the text of a DID. Throws if it is not one. */
export const parseDid = (text: DID): DidView => {
  const known = viewsByText.get(text)
  if (known) return known
  const view = readDid(Dids.parse(text) as unknown as Uint8Array)
  return text.length > 2 * MAX_CACHED_BYTES ? view : remember(viewsByText, text, view)
}
