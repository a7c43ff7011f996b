/** Payload bytes of a quad, the least that can be padded: four field elements of 254 bits. */
export const QUAD_PAYLOAD_SIZE = 127

/** Bytes of a quad once each of its elements is padded to 256 bits: four nodes. */
export const QUAD_SIZE = 128

/** All but the two highest bits of an element's last word; those two are the padding. */
const ELEMENT_END = 0x3fff_ffff

/**
 * Fr32 padding: cuts the payload, read as one little-endian string of bits, into elements of 254 bits and puts
 * two zero bits behind each.
 *
 * Reads `quads` × 127 bytes of `source` from `from`, *and looks at the byte behind them*: its value has no
 * influence, but it must exist. Writes `quads` × 32 words of `target` from word `to`; the words are in the
 * machine's order, which is little-endian on every machine that we run on.
 */
export const padQuads = (
  source: DataView,
  from: number,
  target: Int32Array,
  to: number,
  quads: number,
): void => {
  for (let quad = 0, at = from, word = to; quad < quads; quad++) {
    // The first element is the payload as it is, each further one starts two bits later in its first byte.
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
 * Shifts the words of an element into place: each is the high bits of the payload word before it (`before` for
 * the first) followed by the low bits of its own. Returns the last payload word. Signed words: they stay
 * machine integers in the engine, where unsigned ones would become floating point.
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
