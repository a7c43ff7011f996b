import { styleText } from 'node:util'
import type { Output } from '../context.ts'
import { fit, left, printable } from '../text.ts'

const FRAME_MS = 100
/** Without a terminal, a line of the same phase is repeated after this time. */
const REPEAT_MS = 10_000
const MAX_NAME = 32
const HIDE_CURSOR = '\x1b[?25l'
const SHOW_CURSOR = '\x1b[?25h'
/** Clears from the cursor to the end of the screen. */
const CLEAR = '\x1b[J'

interface Line {
  text: string
  phase: string
  printedAt: number
}

/**
 * Shows one line for each file. On a terminal, the lines of unfinished files are drawn again in place, as many as fit, below
 * those of finished files. Elsewhere a line is printed when a file enters another phase.
 */
export class Progress {
  readonly #output: Output
  readonly #live: boolean
  readonly #nameColumns: number
  readonly #lines = new Map<string, Line>()
  #drawn = 0
  #timer: NodeJS.Timeout | undefined

  /** @param names of the files */
  constructor(output: Output, { names, dumb }: { names: readonly string[]; dumb: boolean }) {
    this.#output = output
    this.#live = output.isTTY === true && !dumb
    this.#nameColumns = Math.min(MAX_NAME, Math.max(...names.map(name => name.length)))
    if (!this.#live) return
    output.write(HIDE_CURSOR)
    this.#timer = setInterval(() => this.#draw(), FRAME_MS)
  }

  /** A file made progress. A text of the same phase replaces the one before. */
  update(name: string, phase: string, text: string): void {
    const line = this.#lines.get(name)
    const now = performance.now()
    const isDue = line?.phase !== phase || (line.text !== text && now - line.printedAt > REPEAT_MS)
    this.#lines.set(name, { text, phase, printedAt: isDue ? now : line.printedAt })
    if (isDue && !this.#live) this.#print(name, text)
  }

  /** A file needs nothing more. */
  settle(name: string, text: string, isFailed = false): void {
    this.#lines.delete(name)
    if (this.#live) this.#output.write(this.#home() + CLEAR)
    this.#drawn = 0
    this.#print(name, text, isFailed ? '✗' : '✓')
    if (this.#live) this.#draw()
  }

  /** Prints a line that is about no single file. */
  note(text: string): void {
    if (this.#live) this.#output.write(this.#home() + CLEAR)
    this.#drawn = 0
    this.#output.write(`${printable(text)}\n`)
  }

  /** Restores the terminal. */
  close(): void {
    if (this.#timer === undefined) return
    clearInterval(this.#timer)
    this.#timer = undefined
    this.#output.write(this.#home() + CLEAR + SHOW_CURSOR)
  }

  #print(name: string, text: string, mark = ' '): void {
    const style = mark === '✓' ? 'green' : mark === '✗' ? 'red' : 'dim'
    const styled = styleText(style, mark, { stream: this.#output as never })
    this.#output.write(`${styled} ${this.#format(name, text)}\n`)
  }

  #format(name: string, text: string): string {
    return `${left(name, this.#nameColumns)}  ${printable(text)}`
  }

  #draw(): void {
    if (this.#timer === undefined) return
    const { columns = 80, rows = 24 } = this.#output
    const room = Math.max(1, rows - 2)
    const lines = [...this.#lines].map(
      ([name, { text }]) => `  ${fit(this.#format(name, text), columns - 3)}`,
    )
    const shown =
      lines.length <= room ? lines : [...lines.slice(0, room - 1), `  … and ${lines.length - room + 1} more`]
    this.#output.write(`${this.#home()}${shown.map(line => `${line}\x1b[K\n`).join('')}${CLEAR}`)
    this.#drawn = shown.length
  }

  /** Moves the cursor to the first drawn line. */
  #home(): string {
    return this.#drawn > 0 ? `\x1b[${this.#drawn}A\r` : ''
  }
}
