import { JSONParser, TokenType } from '@streamparser/json'

/** The greatest size of one value that the parser builds: thousands of contracts of one piece. */
export const MAX_VALUE_BYTES = 1024 * 1024
/** The greatest depth of nesting. A contract is at depth 5. */
const MAX_DEPTH = 16

interface Values {
  /** Receives the value of `state_epoch`. */
  setEpoch(value: unknown): void
  /** Receives each element of `active_replicas`. */
  add(value: unknown): void
}

/**
 * Parses a file of active replicas while it streams, with bounded memory. The JSON parser builds each value whole, and
 * also each text and number, before it passes it on. 365 KB of zstd are enough for a value of 1.3 billion elements, so the
 * value is bounded while it is parsed: `write` throws when a value, a text or a number is larger than 1 MiB (and at most
 * one chunk), or nested too deeply.
 */
export class BoundedParser {
  readonly #parser = new JSONParser({ paths: ['$.state_epoch', '$.active_replicas.*'], keepStack: false })
  /** The present depth, and the last key (or text) at depth 1. */
  #depth = 0
  #key: unknown
  /** Bytes since the parser last held no unfinished value. Counted by chunks. */
  #bytes = 0

  constructor(values: Values) {
    this.#parser.onValue = ({ value, stack }) => {
      if (stack.length === 1) values.setEpoch(value)
      else values.add(value)
    }
    this.#parser.onToken = ({ token, value }) => this.#follow(token, value)
  }

  write(chunk: Uint8Array): void {
    this.#bytes += chunk.byteLength
    this.#parser.write(chunk)
    if (this.#bytes > MAX_VALUE_BYTES + chunk.byteLength)
      throw new Error(`A value in the file of active replicas is larger than ${MAX_VALUE_BYTES} bytes`)
  }

  /** Throws if the file is truncated. */
  end(): void {
    if (!this.#parser.isEnded) this.#parser.end()
  }

  #follow(token: TokenType, value: unknown): void {
    if (token === TokenType.LEFT_BRACE || token === TokenType.LEFT_BRACKET) {
      this.#depth += 1
      if (this.#depth > MAX_DEPTH)
        throw new Error(`The file of active replicas is nested more than ${MAX_DEPTH} levels deep`)
    } else if (token === TokenType.RIGHT_BRACE || token === TokenType.RIGHT_BRACKET) this.#depth -= 1
    else if (token === TokenType.STRING && this.#depth === 1) this.#key = value
    // The parser drops the elements of a list one by one, but builds the value of state_epoch whole.
    if (this.#depth < 2 || (this.#depth === 2 && this.#key !== 'state_epoch')) this.#bytes = 0
  }
}
