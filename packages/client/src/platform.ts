import type { Signer } from '@ucanto/interface'

/** The facilities that Node and browsers provide in different ways. */
export interface Platform {
  fetch: Fetch
  /** Options of a request whose answer must not be that of a cache. */
  uncached: Pick<RequestInit, 'cache'>
  /** Milliseconds since 1970. */
  now(): number
  /** A number from 0 to 1. */
  random(): number
  /** Creates a SHA-256 hasher of content that is written to it chunk by chunk. */
  createSha256(): { update(chunk: Uint8Array): unknown; digest(): Uint8Array }
  /** Opens a file by its path. Its content is read only when the blob is read. */
  openFile(path: string | URL): Promise<Blob>
  /** Returns a blob with the same bytes. Where possible, it calls `onRead` with the number of bytes that have been read from it. */
  observe(blob: Blob, onRead: (bytes: number) => void): Blob
  /** Writes a small file. */
  saveFile(path: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>
  /** Where the key of this user's agent is: in Node the path of a file, in a browser a name. */
  keyPlace(): string
  /** Returns the key of this user's agent, and creates it at the first call. */
  openSigner(path?: string): Promise<Signer>
}

/**
 * Sends a request: the global `fetch`, or a function that wraps it.
 *
 * @param url the address
 * @param init as of `fetch`
 */
export type Fetch = (url: string, init?: RequestInit) => Promise<Response>
