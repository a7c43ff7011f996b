import { mkdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { inflateRawSync } from 'node:zlib'

const DIRECTORY_END = 0x06054b50
const DIRECTORY_END_BYTES = 22
const ENTRY_BYTES = 46
const FILE_HEADER_BYTES = 30
const STORED = 0

/** Writes the files of a ZIP archive into a directory. Archives have no comment, and are smaller than 4 GB. */
export const unzip = (archive: Buffer, directory: string): void => {
  const end = archive.length - DIRECTORY_END_BYTES
  if (archive.readUInt32LE(end) !== DIRECTORY_END)
    throw new Error('This is not a ZIP archive without comment')
  let at = archive.readUInt32LE(end + 16)
  for (let entries = archive.readUInt16LE(end + 10); entries > 0; entries--) {
    const method = archive.readUInt16LE(at + 10)
    const bytes = archive.readUInt32LE(at + 20)
    const nameBytes = archive.readUInt16LE(at + 28)
    const extraBytes = archive.readUInt16LE(at + 30) + archive.readUInt16LE(at + 32)
    const header = archive.readUInt32LE(at + 42)
    const name = archive.toString('utf8', at + ENTRY_BYTES, at + ENTRY_BYTES + nameBytes)
    at += ENTRY_BYTES + nameBytes + extraBytes
    if (name.endsWith('/')) continue
    const start =
      header + FILE_HEADER_BYTES + archive.readUInt16LE(header + 26) + archive.readUInt16LE(header + 28)
    const packed = archive.subarray(start, start + bytes)
    const file = join(directory, name)
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, method === STORED ? packed : inflateRawSync(packed))
  }
}
