import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** A log has at most twice this many bytes: the file, and the one before it. */
const MAX_BYTES = 16 * 1024 * 1024

/** A file in the data directory that lines are added to. When it is full, it becomes `….1`, and a new one is begun. */
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

  /** What comes after the end, of a thread that is being ended, is let go. */
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
