import { Writable } from 'node:stream'

/** A row of the screen; `wraps` if its line goes on in the next row. */
interface Row {
  text: string
  wraps: boolean
}

/** A terminal that wraps lines, and breaks them anew when its width changes. It knows the sequences of the display. */
export class Terminal extends Writable {
  readonly isTTY = true
  columns: number
  rows: number
  #rows: Row[] = [{ text: '', wraps: false }]
  #row = 0
  #column = 0

  constructor(columns: number, rows: number) {
    super({ decodeStrings: false })
    this.columns = columns
    this.rows = rows
  }

  /** The rows on the screen. */
  get screen(): string[] {
    return this.#rows.slice(this.#top).map(({ text }) => text.trimEnd())
  }

  /** The lines on the screen, as they were written. */
  get lines(): string[] {
    return this.#rows
      .slice(this.#top)
      .reduce<Row[]>((lines, { text, wraps }) => {
        const last = lines.at(-1)
        if (last?.wraps) lines.splice(-1, 1, { text: last.text + text, wraps })
        else lines.push({ text, wraps })
        return lines
      }, [])
      .map(({ text }) => text.trimEnd())
  }

  get #top(): number {
    return Math.max(0, this.#rows.length - this.rows)
  }

  override _write(text: string, _: string, done: () => void): void {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the sequences of a terminal begin with one
    for (const [part, digits, letter] of text.matchAll(/\x1b\[\??(\d*(?:;\d+)*)([A-Za-z])|./gsu)) {
      if (letter === undefined) this.#put(part)
      else if (letter === 'A') this.#row = Math.max(this.#top, this.#row - Number(digits))
      else if (letter === 'K' || letter === 'J') {
        this.#rows[this.#row] = { text: this.#current.text.slice(0, this.#column), wraps: false }
        if (letter === 'J') this.#rows.length = this.#row + 1
      } else if (!'mhl'.includes(letter)) throw new Error(`Unknown sequence ${JSON.stringify(part)}`)
    }
    done()
  }

  resize(columns: number, rows = this.rows): void {
    let before = this.#column
    for (let row = this.#row - 1; row >= 0 && this.#rows[row]!.wraps; row--) before += this.columns
    const line = this.#rows.slice(0, this.#row).filter(({ wraps }) => !wraps).length
    const lines: string[] = []
    for (const [n, { text }] of this.#rows.entries())
      if (n > 0 && this.#rows[n - 1]!.wraps) lines[lines.length - 1] += text
      else lines.push(text)
    this.columns = columns
    this.rows = rows
    this.#rows = []
    for (const [n, text] of lines.entries()) {
      if (n === line) this.#row = this.#rows.length + Math.floor(before / columns)
      for (let at = 0; at === 0 || at < text.length; at += columns)
        this.#rows.push({ text: text.slice(at, at + columns), wraps: at + columns < text.length })
    }
    this.#column = before % columns
  }

  get #current(): Row {
    return this.#rows[this.#row]!
  }

  #put(character: string): void {
    if (character === '\r') this.#column = 0
    else if (character === '\n') this.#next()
    else {
      if (this.#column === this.columns) {
        this.#current.wraps = true
        this.#next()
      }
      const { text } = this.#current
      this.#current.text =
        text.slice(0, this.#column).padEnd(this.#column) + character + text.slice(this.#column + 1)
      this.#column++
    }
  }

  #next(): void {
    this.#row++
    this.#column = 0
    if (this.#row === this.#rows.length) this.#rows.push({ text: '', wraps: false })
  }
}
