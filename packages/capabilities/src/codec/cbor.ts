import { CBOR, decodeLink } from '@ucanto/core'
import type { Link } from '@ucanto/interface'

/**
 * DAG-CBOR, ten times as fast as the published codec (`@ipld/dag-cbor` on `cborg`), for the values that the protocol uses: null,
 * booleans, integers, texts, byte strings, links, lists, and maps with ASCII keys. The published codec handles everything else,
 * and every value and input that is not valid: so the bytes, the values and the errors are always those of the published codec.
 *
 * @example encodeCbor({ ok: [1] }) // a1 62 6f 6b 81 01
 */

/** Returned or thrown where the published codec must decide. */
export const UNCOMMON = Symbol('uncommon')
export type Uncommon = typeof UNCOMMON

/** Levels of lists and maps that are handled here. */
const MAX_DEPTH = 64

const [UINT, NEGATIVE, BYTES, TEXT, LIST, MAP] = [0, 0x20, 0x40, 0x60, 0x80, 0xa0]
const [FALSE, TRUE, NULL] = [0xf4, 0xf5, 0xf6]
/** Tag 42, of links. Its byte string has a zero before the CID. */
const LINK_TAG = [0xd8, 0x2a] as const

/** Encodes a value as `CBOR.encode` of `@ucanto/core` does. */
export const encodeCbor = (value: unknown): Uint8Array<ArrayBuffer> => {
  const bytes = encodeCommon(value)
  return bytes === UNCOMMON ? (CBOR.encode(value) as Uint8Array<ArrayBuffer>) : bytes
}

/** Decodes bytes as `CBOR.decode` of `@ucanto/core` does. Throws if they are not valid. */
export const decodeCbor = (bytes: Uint8Array): unknown => {
  const value = decodeCommon(bytes)
  return value === UNCOMMON ? CBOR.decode(bytes as never) : value
}

/** Encodes a value if it has only common parts. */
export const encodeCommon = (value: unknown): Uint8Array<ArrayBuffer> | Uncommon => {
  const writer = spare ?? new Writer()
  spare = undefined
  try {
    writer.length = 0
    writer.write(value, 0)
    return writer.bytes.slice(0, writer.length)
  } catch (cause) {
    if (cause === UNCOMMON) return UNCOMMON
    throw cause
  } finally {
    if (writer.bytes.byteLength <= MAX_SPARE_BYTES) spare = writer
  }
}

/** Decodes bytes if they are valid and have only common parts. */
export const decodeCommon = (bytes: Uint8Array): unknown | Uncommon => {
  try {
    const reader = new Reader(bytes)
    const value = reader.read(0)
    return reader.isAtEnd ? value : UNCOMMON
  } catch (cause) {
    if (cause === UNCOMMON) return UNCOMMON
    throw cause
  }
}

/** Whether a value is a link: an instance of one of the classes `CID`, of any version. */
export const isCid = (value: object): value is Link & { bytes: Uint8Array } => {
  const { asCID, bytes } = value as { asCID?: unknown; bytes?: unknown }
  return asCID === value && bytes instanceof Uint8Array
}

const MAX_SPARE_BYTES = 1_048_576
/** The writer that the last call used. A call while another one runs has its own. */
let spare: Writer | undefined

class Writer {
  bytes: Uint8Array<ArrayBuffer> = new Uint8Array(4096)
  length = 0

  write(value: unknown, depth: number): void {
    switch (typeof value) {
      case 'string':
        this.#writeText(value)
        break
      case 'number':
        if (!Number.isSafeInteger(value)) throw UNCOMMON
        if (value < 0) this.#writeHead(NEGATIVE, -1 - value)
        else this.#writeHead(UINT, value)
        break
      case 'boolean':
        this.#writeByte(value ? TRUE : FALSE)
        break
      case 'object':
        if (value === null) this.#writeByte(NULL)
        else this.#writeObject(value, depth)
        break
      default:
        throw UNCOMMON
    }
  }

  #writeObject(value: object, depth: number): void {
    if (depth === MAX_DEPTH) throw UNCOMMON
    if (value instanceof Uint8Array) {
      this.#writeHead(BYTES, value.byteLength)
      this.#writeBytes(value)
    } else if (isCid(value)) {
      this.#writeByte(LINK_TAG[0])
      this.#writeByte(LINK_TAG[1])
      this.#writeHead(BYTES, value.bytes.byteLength + 1)
      this.#writeByte(0)
      this.#writeBytes(value.bytes)
    } else if (Array.isArray(value)) {
      this.#writeHead(LIST, value.length)
      for (let n = 0; n < value.length; n++) this.write(value[n], depth + 1)
    } else if (Object.getPrototypeOf(value) === Object.prototype) {
      const keys = Object.keys(value)
      this.#writeHead(MAP, keys.length)
      for (const key of keys.length > 1 ? keys.sort(compareKeys) : keys) {
        // The published codec treats some of these as links, and sets a prototype. Keys that are not ASCII sort by their bytes.
        if (key === '/' || key === 'asCID' || key === '__proto__' || !isAscii(key)) throw UNCOMMON
        this.#writeText(key)
        this.write((value as Record<string, unknown>)[key], depth + 1)
      }
    } else throw UNCOMMON
  }

  #writeText(text: string): void {
    const { length } = text
    // Most texts are ASCII, which has one byte for each character.
    this.#writeHead(TEXT, length)
    const { bytes } = this.#reserve(length)
    const start = this.length
    for (let n = 0; n < length; n++) {
      const code = text.charCodeAt(n)
      if (code > 0x7f) throw UNCOMMON
      bytes[start + n] = code
    }
    this.length = start + length
  }

  #writeHead(major: number, value: number): void {
    const { bytes } = this.#reserve(9)
    if (value < 24) bytes[this.length++] = major | value
    else if (value < 0x100) {
      bytes[this.length++] = major | 24
      bytes[this.length++] = value
    } else if (value < 0x1_0000) {
      bytes[this.length++] = major | 25
      bytes[this.length++] = value >>> 8
      bytes[this.length++] = value
    } else if (value < 0x1_0000_0000) {
      bytes[this.length++] = major | 26
      this.#writeWord(value)
    } else {
      bytes[this.length++] = major | 27
      this.#writeWord(Math.floor(value / 0x1_0000_0000))
      this.#writeWord(value % 0x1_0000_0000)
    }
  }

  #writeWord(value: number): void {
    for (const shift of [24, 16, 8, 0]) this.bytes[this.length++] = value >>> shift
  }

  #writeByte(value: number): void {
    this.#reserve(1).bytes[this.length++] = value
  }

  #writeBytes(value: Uint8Array): void {
    this.#reserve(value.byteLength).bytes.set(value, this.length)
    this.length += value.byteLength
  }

  #reserve(count: number): this {
    const needed = this.length + count
    if (needed > this.bytes.byteLength) {
      const larger = new Uint8Array(Math.max(needed, 2 * this.bytes.byteLength))
      larger.set(this.bytes.subarray(0, this.length))
      this.bytes = larger
    }
    return this
  }
}

/** The order of keys in DAG-CBOR: shorter ones first, then by their bytes. */
const compareKeys = (a: string, b: string): number => a.length - b.length || (a < b ? -1 : 1)

const isAscii = (text: string): boolean => {
  for (let n = 0; n < text.length; n++) if (text.charCodeAt(n) > 0x7f) return false
  return true
}

/** Up to this length, a text is read sooner without the decoder. */
const MAX_SHORT_TEXT = 16
const decoder = new TextDecoder()

class Reader {
  readonly #bytes: Uint8Array
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.byteLength
  }

  read(depth: number): unknown {
    if (depth > MAX_DEPTH) throw UNCOMMON
    const head = this.#take()
    switch (head & 0xe0) {
      case UINT:
        return this.#readLength(head)
      case NEGATIVE: {
        const value = -1 - this.#readLength(head)
        if (!Number.isSafeInteger(value)) throw UNCOMMON
        return value
      }
      case BYTES:
        return this.#readBytes(head)
      case TEXT:
        return this.#readText(head)
      case LIST:
        return this.#readList(head, depth)
      case MAP:
        return this.#readMap(head, depth)
    }
    if (head === TRUE) return true
    if (head === FALSE) return false
    if (head === NULL) return null
    if (head === LINK_TAG[0] && this.#take() === LINK_TAG[1]) return this.#readLink()
    throw UNCOMMON
  }

  #take(): number {
    if (this.#at >= this.#bytes.byteLength) throw UNCOMMON
    return this.#bytes[this.#at++]!
  }

  /** Reads the number in the head of a part. It must have its shortest form. */
  #readLength(head: number): number {
    const short = head & 0x1f
    if (short < 24) return short
    if (short === 24) return this.#atLeast(24, this.#take())
    if (short === 25) return this.#atLeast(0x100, this.#take() * 0x100 + this.#take())
    if (short === 26) return this.#atLeast(0x1_0000, this.#readWord())
    if (short === 27) return this.#atLeast(0x1_0000_0000, this.#readWord() * 0x1_0000_0000 + this.#readWord())
    throw UNCOMMON
  }

  #readWord(): number {
    return ((this.#take() * 0x100 + this.#take()) * 0x100 + this.#take()) * 0x100 + this.#take()
  }

  #atLeast(min: number, value: number): number {
    if (value < min || value > Number.MAX_SAFE_INTEGER) throw UNCOMMON
    return value
  }

  /** Reads the length of a part of this many bytes, and moves to its end. Returns its start. */
  #skip(head: number): number {
    const length = this.#readLength(head)
    const start = this.#at
    if (length > this.#bytes.byteLength - start) throw UNCOMMON
    this.#at = start + length
    return start
  }

  /** Copies a byte string, because views of DIDs and signatures read to the end of its buffer. */
  #readBytes(head: number): Uint8Array {
    const start = this.#skip(head)
    const copy = new Uint8Array(this.#at - start)
    copy.set(this.#bytes.subarray(start, this.#at))
    return copy
  }

  #readText(head: number): string {
    const start = this.#skip(head)
    const bytes = this.#bytes
    for (let n = start; n < this.#at; n++) if (bytes[n]! > 0x7f) throw UNCOMMON
    if (this.#at - start > MAX_SHORT_TEXT) return decoder.decode(bytes.subarray(start, this.#at))
    let text = ''
    for (let n = start; n < this.#at; n++) text += String.fromCharCode(bytes[n]!)
    return text
  }

  #readList(head: number, depth: number): unknown[] {
    const length = this.#readLength(head)
    const list: unknown[] = []
    for (let n = 0; n < length; n++) list.push(this.read(depth + 1))
    return list
  }

  #readMap(head: number, depth: number): Record<string, unknown> {
    const length = this.#readLength(head)
    const map: Record<string, unknown> = {}
    for (let n = 0; n < length; n++) {
      const keyHead = this.#take()
      if ((keyHead & 0xe0) !== TEXT) throw UNCOMMON
      const key = this.#readText(keyHead)
      // As in the published codec, `__proto__` sets the prototype. `Ucans` of `runtime` rejects such values.
      if (Object.hasOwn(map, key)) throw UNCOMMON
      map[key] = this.read(depth + 1)
    }
    return map
  }

  #readLink(): unknown {
    const head = this.#take()
    if ((head & 0xe0) !== BYTES) throw UNCOMMON
    const bytes = this.#readBytes(head)
    if (bytes[0] !== 0) throw UNCOMMON
    try {
      return decodeLink(bytes.subarray(1) as never)
    } catch {
      throw UNCOMMON
    }
  }
}
