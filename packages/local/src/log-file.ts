import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** Size of a log file. With its predecessor, a log takes up to twice this. */
const MAX_BYTES = 16 * 1024 * 1024

/** Appends to a log file in the data directory. A full file is renamed, e.g. to `storefront.log.1`, and a new one begins. */
export class LogFile {
  readonly path: string
  #file: number | undefined
  #bytes: number

  constructor(data: string, name: string) {
    this.path = join(data, 'logs', `${name}.log`)
    mkdirSync(join(data, 'logs'), { recursive: true })
    this.#file = openSync(this.path, 'a')
    this.#bytes = fstatSync(this.#file).size
  }

  /** Drops output after `close`: a thread may still print while it ends. */
  write(text: string | Uint8Array): void {
    if (this.#file === undefined) return
    if (this.#bytes > MAX_BYTES) {
      closeSync(this.#file)
      renameSync(this.path, `${this.path}.1`)
      this.#file = openSync(this.path, 'a')
      this.#bytes = 0
    }
    const bytes = typeof text === 'string' ? Buffer.from(text) : text
    writeSync(this.#file, bytes)
    this.#bytes += bytes.byteLength
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }
}
