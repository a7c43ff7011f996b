import { randomBytes } from 'node:crypto'
import { create } from 'fr32-sha2-256-trunc254-padded-binary-tree-multihash'
import { pieceOf } from '../packages/piece/src/index.ts'
import { native, type Sha256, wasm } from '../packages/piece/src/sha256.ts'
import { callInFreshProcess, compare, peakMb, times } from './measure.ts'
import type { Table } from './table.ts'

const MiB = 2 ** 20
const SIZES = [64, 256]
const ROUNDS = 3
const STREAM_MIB = 1024

const chunk = randomBytes(64 * 1024)

/** Yields content as a file or a response does: chunk by chunk, each slightly different. */
const content = async function* (mib: number) {
  for (let n = 0; n < (mib * MiB) / chunk.length; n++) {
    chunk.writeUInt32LE(n)
    yield chunk
  }
}

const hashOurs = async (mib: number, backend: Sha256): Promise<Uint8Array> =>
  (await pieceOf(content(mib), { backend })).link.multihash.bytes

const hashPublished = async (mib: number): Promise<Uint8Array> => {
  const hasher = create()
  for await (const bytes of content(mib)) hasher.write(bytes)
  const multihash = new Uint8Array(hasher.multihashByteLength())
  hasher.digestInto(multihash, 0, true)
  hasher.free()
  return multihash
}

/** Hashes a stream, and returns the peak memory of this process in MB. */
export const peakOfStream = async (mib: number): Promise<number> => {
  await pieceOf(content(mib))
  return peakMb()
}

/** Measures the piece CID of a stream, with each SHA-256 backend and with the published hasher, which is WebAssembly. */
export const run = async (): Promise<Table> => {
  const backends = { ...(native && { native }), wasm }
  const peak = await callInFreshProcess<number>(import.meta.url, 'peakOfStream', STREAM_MIB)
  const rows: Table['rows'] = []
  const ratios: Record<string, number> = {}
  for (const mib of SIZES) {
    const expected = Buffer.from(await hashPublished(1))
    for (const backend of Object.values(backends))
      if (!expected.equals(await hashOurs(1, backend))) throw new Error(`${backend.name}: the CIDs differ`)
    const measured = await compare(
      {
        ...Object.fromEntries(
          Object.entries(backends).map(([name, backend]) => [name, () => hashOurs(mib, backend)]),
        ),
        published: () => hashPublished(mib),
      },
      ROUNDS,
    )
    for (const [name, { cpuMs, elapsedMs, ratio }] of Object.entries(measured)) {
      ratios[name] = Math.min(ratio, ratios[name] ?? Infinity)
      const megabytesPerSecond = (mib * MiB) / cpuMs / 1000
      rows.push([
        name,
        mib,
        cpuMs.toFixed(0),
        elapsedMs.toFixed(0),
        megabytesPerSecond.toFixed(0),
        times(ratio),
      ])
    }
  }
  const ratioAim = (name: string, aim: number) => {
    const seen = ratios[name]
    return {
      name: `${name} against published, CPU`,
      aim: `≥ ${aim}×`,
      seen: seen === undefined ? 'not on this machine' : times(seen),
      met: seen !== undefined && seen >= aim,
    }
  }
  return {
    title: 'Piece CID of a stream',
    columns: ['hasher', 'MiB', 'ms CPU', 'ms', 'MB per s of CPU', 'ratio'],
    rows,
    aims: [
      ratioAim('native', 20),
      ratioAim('wasm', 2.5),
      {
        name: `peak RSS, a stream of ${STREAM_MIB} MiB`,
        aim: '< 150 MB',
        seen: `${peak.toFixed(0)} MB`,
        met: peak < 150,
      },
    ],
    notes: [
      `Medians of ${ROUNDS} rounds in turns. The content arrives in chunks of 64 KiB from memory. The multihashes are equal. An aim counts the smaller ratio of both sizes.`,
      'native is @chainsafe/hashtree, wasm is @chainsafe/as-sha256; the published hasher is Rust in WebAssembly. The SHA-256 of @chainsafe/as-sha256 bounds wasm: three quarters of its time.',
    ],
  }
}
