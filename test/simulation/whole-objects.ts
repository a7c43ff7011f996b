import { createHash } from 'node:crypto'
import type { WholeObjects } from '@w3filecoin/dealer'
import type { DeterministicWorld } from '@w3filecoin/testing/deterministic'

interface Upload {
  aggregate: string
  parts: Map<number, { etag: string; bytes: Uint8Array }>
}

/** The bucket of whole aggregates in the deterministic world. */
export class SimulatedWholes implements WholeObjects {
  /** By piece CID of the aggregate. */
  readonly objects = new Map<string, Uint8Array>()
  readonly #uploads = new Map<string, Upload>()
  #begun = 0
  readonly #call: <T>(method: string, run: () => T) => Promise<T>

  constructor({
    name,
    world,
    touch,
  }: {
    name: string
    world: DeterministicWorld
    touch: (access: 'read' | 'write') => void
  }) {
    this.#call = (method, run) => {
      touch(method === 'locate' ? 'read' : 'write')
      return world.call({ port: 'blocks', name, method }, { run })
    }
  }

  begin(aggregate: string): Promise<string> {
    return this.#call('begin', () => {
      this.#begun++
      const upload = `upload-${this.#begun}`
      this.#uploads.set(upload, { aggregate, parts: new Map() })
      return upload
    })
  }

  putPart({
    upload,
    part,
    bytes,
  }: {
    upload: string
    part: number
    bytes: Uint8Array
  }): Promise<string | undefined> {
    return this.#call('putPart', () => {
      const etag = createHash('md5').update(bytes).digest('hex')
      const open = this.#uploads.get(upload)
      open?.parts.set(part, { etag, bytes })
      return open && etag
    })
  }

  complete({
    aggregate,
    upload,
    etags,
    bytes,
  }: {
    aggregate: string
    upload: string
    etags: readonly string[]
    bytes: number
  }): Promise<boolean> {
    return this.#call('complete', () => {
      const open = this.#uploads.get(upload)
      if (open) {
        const parts = etags.map((etag, n) => {
          const part = open.parts.get(n)
          if (part?.etag !== etag) throw new Error(`Part ${n} has another tag`)
          return part.bytes
        })
        this.objects.set(aggregate, Buffer.concat(parts))
        this.#uploads.delete(upload)
      }
      return this.objects.get(aggregate)?.byteLength === bytes
    })
  }

  abort({ upload }: { upload: string }): Promise<void> {
    return this.#call('abort', () => void this.#uploads.delete(upload))
  }

  locate(aggregate: string): Promise<string> {
    return this.#call('locate', () => `https://wholes.test/${aggregate}`)
  }

  remove(aggregate: string): Promise<void> {
    return this.#call('remove', () => void this.objects.delete(aggregate))
  }
}
