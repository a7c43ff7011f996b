import { closeSync, fstatSync, mkdirSync, openSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'

/** Size of a log file. With its predecessor, a log takes up to twice this. */
const MAX_BYTES = 16 * 1024 * 1024

/** Writes one line to the user. */
type Warn = (line: string) => void

/**
 * Appends to a log file in the data directory. A full file is renamed, e.g. to `storefront.log.1`, and a new one begins.
 *
 * If the file cannot be written, e.g. because the disk is full, one line says so, and the system goes on without it.
 */
export class LogFile {
  readonly path: string
  readonly #warn: Warn
  #file: number | undefined
  #bytes = 0

  constructor(data: string, name: string, warn: Warn = line => process.stderr.write(`${line}\n`)) {
    this.path = join(data, 'logs', `${name}.log`)
    this.#warn = warn
    this.#attempt(() => {
      mkdirSync(join(data, 'logs'), { recursive: true })
      this.#open()
    })
  }

  /** Drops output after `close`: a thread may still print while it ends. */
  write(text: string | Uint8Array): void {
    if (this.#file === undefined) return
    const bytes = typeof text === 'string' ? Buffer.from(text) : text
    this.#attempt(file => {
      if (this.#bytes > MAX_BYTES) {
        renameSync(this.path, `${this.path}.1`)
        closeSync(file as number)
        this.#open()
      }
      writeSync(this.#file as number, bytes)
      this.#bytes += bytes.byteLength
    })
  }

  close(): void {
    if (this.#file !== undefined) closeSync(this.#file)
    this.#file = undefined
  }

  #open(): void {
    this.#file = undefined
    this.#file = openSync(this.path, 'a')
    this.#bytes = fstatSync(this.#file).size
  }

  /** Runs a step. If it fails, says so once, and drops all further output. */
  #attempt(step: (file: number | undefined) => void): void {
    try {
      step(this.#file)
    } catch (cause) {
      this.close()
      this.#warn(
        `w3filecoin: cannot write ${this.path}: ${(cause as Error).message}. The system goes on without this log until its next start.`,
      )
    }
  }
}
