import { decodeCbor } from '@w3filecoin/capabilities/codec'
import { varint } from 'multiformats'
import { CID } from 'multiformats/cid'

/** One block of a CAR. Nothing has verified yet that the bytes hash to the CID. */
export interface Section {
  cid: CID
  bytes: Uint8Array
}

/** Maximum size of a header: enough for two roots with long CIDs. */
const MAX_HEADER_BYTES = 1_000

/** Reads a length at the start of `bytes`, and splits off the part of that length after it. */
const splitPart = (bytes: Uint8Array): [part: Uint8Array, rest: Uint8Array] => {
  const [length, size] = varint.decode(bytes)
  const end = size + length
  if (length === 0 || end > bytes.byteLength) throw new Error(`A part claims to have ${length} bytes`)
  return [bytes.subarray(size, end), bytes.subarray(end)]
}

/**
 * Reads a CAR (version 1) one section at a time, so that the caller can stop at a limit. `@ipld/car` reads all sections
 * into memory before it returns their number, and lets them overlap: 4 MB became 2 million blocks in 2 GB.
 *
 * Throws if the bytes are not a CAR.
 */
export const readCar = (car: Uint8Array): { roots: CID[]; sections: Iterable<Section> } => {
  const [header, body] = splitPart(car)
  if (header.byteLength > MAX_HEADER_BYTES)
    throw new Error(`The header has more than ${MAX_HEADER_BYTES} bytes`)
  const { version, roots } = decodeCbor(header) as { version?: unknown; roots?: unknown }
  if (version !== 1) throw new Error('It is not a CAR of version 1')
  if (!Array.isArray(roots)) throw new Error('The header has no list of roots')
  return { roots: roots.map(asCid), sections: sectionsOf(body) }
}

function* sectionsOf(body: Uint8Array): Iterable<Section> {
  for (let rest = body; rest.byteLength > 0; ) {
    const [section, remaining] = splitPart(rest)
    const [cid, bytes] = CID.decodeFirst(section)
    yield { cid, bytes }
    rest = remaining
  }
}

const asCid = (root: unknown): CID => {
  const cid = CID.asCID(root)
  if (cid === null) throw new Error('A root is not a CID')
  return cid
}
