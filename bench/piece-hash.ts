import { randomBytes } from 'node:crypto'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { pieceOf } from '../packages/piece/src/index.ts'
import { native, wasm } from '../packages/piece/src/sha256.ts'
import { readOptions, wholeNumber } from '../test/options.ts'

const HELP = `Measures the piece CID of a stream.

  npm run bench:hash -- [options]

  --mib N          size of the stream in MiB (default: 1024)
  --help           print this

Prints the speed, the peak memory of the process and the longest time that the event loop was blocked, for each SHA-256
backend. Then it hashes less of the same content with the published hasher. The links must be equal, else the exit code is 1.
`

const { mib: size } = readOptions({
  script: 'bench:hash',
  help: HELP,
  options: { mib: wholeNumber(1, 65_536).default(1024) },
})
const MiB = 2 ** 20
const chunk = randomBytes(64 * 1024)

/** Yields content as a file or a response does: chunk by chunk, each slightly different. */
const content = async function* (MiBs: number) {
  for (let n = 0; n < (MiBs * MiB) / chunk.length; n++) {
    chunk.writeUInt32LE(n)
    yield chunk
  }
}

const report = (name: string, MiBs: number, ms: number, more = '') =>
  console.log(
    `${name.padEnd(28)} ${MiBs} MiB in ${(ms / 1000).toFixed(2)} s, ${((MiBs * MiB) / ms / 1000).toFixed(0)} MB/s${more}`,
  )

const measure = async (backend: typeof wasm, MiBs: number) => {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const start = performance.now()
  const { link } = await pieceOf(content(MiBs), { backend })
  const ms = performance.now() - start
  delay.disable()
  const peak = (process.resourceUsage().maxRSS / 1024).toFixed(0)
  report(
    `@w3filecoin/piece, ${backend.name}`,
    MiBs,
    ms,
    `, peak RSS ${peak} MB, longest delay ${(delay.max / 1e6).toFixed(0)} ms`,
  )
  return `${link}`
}

if (native) await measure(native, size)
else console.log('No native SHA-256 on this machine.')
await measure(wasm, Math.min(size, 256))

// Imported by path because it is a dependency of the package's tests, not of the workspace.
const { create } = await import(
  new URL(
    '../packages/piece/node_modules/fr32-sha2-256-trunc254-padded-binary-tree-multihash/src/lib.js',
    import.meta.url,
  ).href
)
const publishedSize = Math.min(size, 64)
const hasher = create()
const start = performance.now()
for await (const bytes of content(publishedSize)) hasher.write(bytes)
const multihash = new Uint8Array(hasher.multihashByteLength())
hasher.digestInto(multihash, 0, true)
report('published hasher', publishedSize, performance.now() - start)

const { link } = await pieceOf(content(publishedSize))
if (Buffer.compare(link.multihash.bytes, multihash) !== 0) throw new Error('The links differ')
console.log('The links are equal.')
