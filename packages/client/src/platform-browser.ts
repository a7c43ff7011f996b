import { sha256 } from '@noble/hashes/sha2'
import type { Signer } from '@ucanto/interface'
import * as rsa from '@ucanto/principal/rsa'
import { reasonOf, W3Error } from './error.ts'
import type { Platform } from './platform.ts'

export const platform: Platform = {
  fetch: (url, init) => fetch(url, init),
  // Only in browsers, which have IndexedDB: older runtimes of servers throw at this option, and have no cache.
  uncached: 'indexedDB' in globalThis ? { cache: 'no-cache' } : {},
  now: () => Date.now(),
  random: () => Math.random(),

  // Not as-sha256: its incremental hash is wrong unless every chunk has a multiple of 64 bytes (version 1.2.5).
  createSha256: () => sha256.create(),

  async openFile(path) {
    throw new W3Error('InvalidSource', `A web page cannot open ${path} by its path`, {
      hint: 'Pass a File, e.g. of an <input type="file">.',
    })
  },

  // A browser reads the bytes of a blob itself.
  observe: blob => blob,

  async saveFile(path, bytes) {
    const { document } = globalThis as Partial<Page>
    if (document === undefined)
      throw new W3Error('SaveFailed', 'A worker cannot save a file', {
        hint: 'Store `proof.bytes`, or send them to the page.',
      })
    const url = URL.createObjectURL(new Blob([bytes], { type: 'application/vnd.ipld.car' }))
    const link = document.createElement('a')
    link.href = url
    link.download = path.split('/').at(-1) as string
    link.click()
    URL.revokeObjectURL(url)
  },

  keyPlace: () => 'agent',

  /** The private key cannot be exported: scripts of the page can use it, but not copy it. */
  async openSigner(name = platform.keyPlace()) {
    const { indexedDB } = globalThis as Partial<Page>
    if (indexedDB === undefined)
      throw new W3Error('KeyUnavailable', 'This environment has no IndexedDB to keep a key in')
    try {
      const opening = indexedDB.open('w3filecoin', 1)
      opening.onupgradeneeded = () => void opening.result.createObjectStore('keys')
      const database = await settle(opening)
      const find = () => settle(database.transaction('keys').objectStore('keys').get(name))
      try {
        let archive = await find()
        if (archive === undefined) {
          const created = (await rsa.generate()).toArchive()
          // `add` fails if another page of this origin has stored a key since then.
          const adding = database.transaction('keys', 'readwrite').objectStore('keys').add(created, name)
          await settle(adding).catch(() => undefined)
          archive = await find()
        }
        return rsa.from(archive as Parameters<typeof rsa.from>[0]) as unknown as Signer
      } finally {
        database.close()
      }
    } catch (cause) {
      throw new W3Error('KeyUnavailable', `Cannot open the key in IndexedDB: ${reasonOf(cause)}`, { cause })
    }
  },
}

/** Resolves with the result of a request. */
const settle = <T>(request: StorageRequest<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result)
    request.onerror = event => {
      // Otherwise the error would also abort the transaction and reach the window.
      event.preventDefault()
      reject(request.error)
    }
  })

/** The globals of a page that this module uses. The types of the whole DOM would apply to all of this repository. */
interface Page {
  document: { createElement(name: 'a'): { href: string; download: string; click(): void } }
  indexedDB: {
    open(name: string, version: number): StorageRequest<Database> & { onupgradeneeded: () => void }
  }
}

interface StorageRequest<T> {
  result: T
  error: unknown
  onsuccess: () => void
  onerror: (event: { preventDefault(): void }) => void
}

interface Database {
  createObjectStore(name: string): unknown
  transaction(name: string, mode?: 'readwrite'): { objectStore(name: string): ObjectStore }
  close(): void
}

interface ObjectStore {
  get(key: string): StorageRequest<unknown>
  add(value: unknown, key: string): StorageRequest<unknown>
}
