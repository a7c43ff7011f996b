import type { Blocks } from '@w3filecoin/runtime'
import type { Link } from 'multiformats'
import { linkOf } from '../pieces.ts'
import type { DeterministicWorld } from './world.ts'

/** The port `Blocks` in the deterministic world. */
export class DeterministicBlocks implements Blocks {
  readonly blocks = new Map<string, Uint8Array>()
  readonly #name: string
  readonly #world: DeterministicWorld

  constructor({ name, world }: { name: string; world: DeterministicWorld }) {
    this.#name = name
    this.#world = world
  }

  put(bytes: Uint8Array, codec: number): Promise<Link> {
    const link = linkOf(bytes, codec)
    const kept = new Uint8Array(bytes)
    return this.#call('put', () => {
      this.blocks.set(`${link}`, kept)
      return link
    })
  }

  get(link: Link): Promise<Uint8Array | undefined> {
    return this.#call('get', () => {
      const bytes = this.blocks.get(`${link}`)
      return bytes && new Uint8Array(bytes)
    })
  }

  locate(link: Link, type: string): Promise<string> {
    return this.#call('locate', () => {
      const bytes = Buffer.from(this.blocks.get(`${link}`) ?? new Uint8Array())
      return `data:${type};base64,${bytes.toString('base64')}`
    })
  }

  #call<T>(method: string, run: () => T): Promise<T> {
    return this.#world.call({ port: 'blocks', name: this.#name, method }, { run })
  }
}
