import { gzipSync } from 'node:zlib'
import { build } from 'esbuild'
import { beforeAll, describe, expect, it } from 'vitest'

/** The hasher of pieces: a WebAssembly module, encoded as text. */
const HASHER = '@chainsafe/as-sha256'
const MAX_BYTES = 80_000

/** Bundles a program for browsers, from the sources. */
const bundle = async (program: string, external: string[] = []) => {
  const { outputFiles, metafile } = await build({
    stdin: { contents: program, resolveDir: new URL('../src', import.meta.url).pathname },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'browser',
    external,
    write: false,
    metafile: true,
  })
  return { code: outputFiles[0]!.contents, inputs: Object.keys(metafile.inputs) }
}

describe('the bundle of everything for browsers', () => {
  const program = "export * from './index.ts'"
  let whole: Awaited<ReturnType<typeof bundle>>
  let withoutHasher: Awaited<ReturnType<typeof bundle>>

  beforeAll(async () => {
    whole = await bundle(program)
    withoutHasher = await bundle(program, [HASHER])
  })

  it('has less than 80 kB after gzip, without the hasher', () => {
    expect(gzipSync(withoutHasher.code).byteLength).toBeLessThan(MAX_BYTES)
    expect(whole.inputs.some(input => input.includes('as-sha256'))).toBe(true)
  })

  it('contains no module of Node', () => {
    const code = new TextDecoder().decode(whole.code)
    expect(code).not.toMatch(/["']node:/)
    expect(whole.inputs.filter(input => /platform-node|hashtree/.test(input))).toEqual([])
  })

  it('computes the same CIDs as in Node', async () => {
    const url = `data:text/javascript;base64,${Buffer.from(whole.code).toString('base64')}`
    const { identify } = await import(/* @vite-ignore */ url)
    const { identify: identifyInNode } = await import('../src/index.ts')
    for (const size of [0, 7, 127, 70_001, 3_000_000]) {
      const blob = new Blob([Uint8Array.from({ length: size }, (_, n) => (n * 7919) >> 5)])
      const [found, expected] = await Promise.all([identify(blob), identifyInNode(blob)])
      expect([`${found.content}`, `${found.piece}`, found.bytes]).toEqual([
        `${expected.content}`,
        `${expected.piece}`,
        size,
      ])
    }
  })
})
