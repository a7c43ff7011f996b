/** Payload bytes of a quad, the smallest unit of padding: four field elements of 254 bits. */
export const QUAD_PAYLOAD_SIZE = 127

/** Bytes of a quad once each of its elements is padded to 256 bits: four nodes. */
export const QUAD_SIZE = 128

/** Mask of an element's last word that clears its two highest bits, the padding. */
const ELEMENT_END = 0x3fff_ffff

/**
 * Fr32 padding: cuts the payload, read as one little-endian string of bits, into elements of 254 bits and appends
 * two zero bits to each.
 *
 * Reads `quads` × 127 bytes of `source` from `from`, *and one more byte*: its value has no influence, but it must
 * exist. Writes `quads` × 32 words of `target` from word `to`. The words are in the machine's byte order, which is
 * little-endian on every supported platform.
 *
 * @example 127 bytes of 0xff → 128 bytes: four times 31 of 0xff and one of 0x3f
 */
export const padQuads = (
  source: DataView,
  from: number,
  target: Int32Array,
  to: number,
  quads: number,
): void => {
  for (let quad = 0, at = from, word = to; quad < quads; quad++) {
    // The first element is unshifted payload. Each further element is shifted by two more bits.
    for (let i = 0; i < 7; i++) target[word + i] = source.getInt32(at + 4 * i, true)
    const last = source.getInt32(at + 28, true)
    target[word + 7] = last & ELEMENT_END
    const second = padElement(source, at + 32, target, word + 8, last, 2)
    const third = padElement(source, at + 64, target, word + 16, second, 4)
    padElement(source, at + 96, target, word + 24, third, 6)
    at += QUAD_PAYLOAD_SIZE
    word += QUAD_SIZE / 4
  }
}

/**
 * Shifts the words of an element into place: each is the high bits of the previous payload word (`before` for the
 * first) followed by the low bits of its own. Returns the last payload word. The words are signed because the engine
 * keeps those as machine integers; unsigned words would become floating point.
 */
const padElement = (
  source: DataView,
  from: number,
  target: Int32Array,
  to: number,
  before: number,
  shift: number,
): number => {
  let last = before
  let word = 0
  for (let i = 0; i < 7; i++) {
    word = source.getInt32(from + 4 * i, true)
    target[to + i] = (word << shift) | (last >>> (32 - shift))
    last = word
  }
  word = source.getInt32(from + 28, true)
  target[to + 7] = ((word << shift) | (last >>> (32 - shift))) & ELEMENT_END
  return word
}

/**
 * Reverses {@link padQuads}: takes the two zero bits behind each element out again.
 *
 * @param padded quads of 128 bytes
 * @returns 127 bytes for each quad
 * @example 128 bytes: four times 31 of 0xff and one of 0x3f → 127 bytes of 0xff
 */
export const unpadQuads = (padded: Uint8Array): Uint8Array => {
  const quads = padded.byteLength / QUAD_SIZE
  const payload = new Uint8Array(quads * QUAD_PAYLOAD_SIZE)
  for (let quad = 0; quad < quads; quad++)
    for (let at = 0; at < QUAD_SIZE; at++) {
      const byte = padded[quad * QUAD_SIZE + at] as number
      // Each element before this one had two bits that are not payload.
      const bit = 8 * at - 2 * (at >> 5)
      const to = quad * QUAD_PAYLOAD_SIZE + (bit >> 3)
      payload[to]! |= byte << (bit & 7)
      const rest = byte >> (8 - (bit & 7))
      if (rest > 0) payload[to + 1]! |= rest
    }
  return payload
}
