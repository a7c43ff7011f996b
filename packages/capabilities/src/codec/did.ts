import { DID as Dids } from '@ucanto/core'
import type { DID, Principal } from '@ucanto/interface'

/** A DID as bytes, e.g. the multicodec and the bytes of a key, with its text. */
export type DidView = Uint8Array & Principal

/** Longer DIDs are not cached. The `did:key` of an RSA key of 4096 bits has 528 bytes. */
const MAX_CACHED_BYTES = 544
const MAX_CACHED = 4_096

/** Views by the bytes as Latin-1, and by the text. */
const viewsByBytes = new Map<string, DidView>()
const viewsByText = new Map<string, DidView>()

/** Adds to a cache. A full cache starts again from empty. */
const remember = (cache: Map<string, DidView>, key: string, view: DidView): DidView => {
  if (cache.size >= MAX_CACHED) cache.clear()
  cache.set(key, view)
  return view
}

/**
 * Reads the bytes of a DID. Throws if the library does not know their multicodec. The same bytes have the same view, and its text is
 * written once: base 58 takes 10 µs for an Ed25519 key.
 */
export const readDid = (bytes: Uint8Array): DidView => {
  if (bytes.byteLength > MAX_CACHED_BYTES) return viewDid(bytes)
  const key = String.fromCharCode(...bytes)
  return viewsByBytes.get(key) ?? remember(viewsByBytes, key, viewDid(bytes))
}

const viewDid = (bytes: Uint8Array): DidView => {
  const view = Dids.decode(bytes as never) as unknown as DidView
  const write = view.did.bind(view)
  let text: DID | undefined
  const did = () => {
    text ??= write()
    return text
  }
  return Object.defineProperty(view, 'did', { value: did })
}

/** Parses the text of a DID. Throws if it is not one. */
export const parseDid = (text: DID): DidView => {
  const known = viewsByText.get(text)
  if (known) return known
  const view = readDid(Dids.parse(text) as unknown as Uint8Array)
  return view.byteLength > MAX_CACHED_BYTES ? view : remember(viewsByText, text, view)
}
