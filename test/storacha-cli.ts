import { execFile } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Delegation } from '@ucanto/interface'

const BIN = createRequire(import.meta.url).resolve('@storacha/cli/bin.js')
const LOOPBACK_ONLY = new URL('./loopback-only.ts', import.meta.url)

/** The end of a process. */
export interface Exit {
  /** The exit code. */
  status: unknown
  stdout: string
  stderr: string
}

/** The published `@storacha/cli`, with its agent in a temporary home directory. */
export class StorachaCli {
  readonly #home: string
  readonly #service: { did: string; url: string }

  private constructor(home: string, service: { did: string; url: string }) {
    this.#home = home
    this.#service = service
  }

  /** @param service the service that the CLI calls */
  static async open(service: { did: string; url: string }): Promise<StorachaCli> {
    return new StorachaCli(await mkdtemp(join(tmpdir(), 'w3filecoin-cli-')), service)
  }

  /** Runs `storacha` with arguments, e.g. `run('can', 'filecoin', 'info', 'bafkzci…')`. */
  run(...args: string[]): Promise<Exit> {
    const { did, url } = this.#service
    // A complete environment: nothing of this process, e.g. a proxy or another home directory, reaches the CLI.
    const env = {
      HOME: this.#home,
      STORACHA_SERVICE_DID: did,
      STORACHA_SERVICE_URL: url,
      STORACHA_RECEIPTS_URL: `${url}/receipt/`,
      NO_UPDATE_NOTIFIER: '1',
      NODE_OPTIONS: `--import=${LOOPBACK_ONLY}`,
      CONNECTIONS: this.#connections,
    }
    return new Promise(resolve => {
      execFile(process.execPath, [BIN, ...args], { env }, (error, stdout, stderr) =>
        resolve({ status: error ? error.code : 0, stdout, stderr }),
      )
    })
  }

  /** Adds a space by a delegation to the agent, and uses it. */
  async addSpace(delegation: Delegation): Promise<Exit> {
    const { ok: archive, error } = await delegation.archive()
    if (error) throw error
    const path = join(this.#home, 'space.ucan')
    await writeFile(path, archive)
    return this.run('space', 'add', path)
  }

  /** Returns the addresses that all runs so far have connected to, each once, e.g. `127.0.0.1:4001`. */
  async connections(): Promise<string[]> {
    const text = await readFile(this.#connections, 'utf8')
    return [...new Set(text.split('\n'))].filter(address => address !== '')
  }

  async close(): Promise<void> {
    await rm(this.#home, { recursive: true, force: true })
  }

  get #connections() {
    return join(this.#home, 'connections')
  }
}
