import { Writable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { Progress } from '../../src/user/progress.ts'

/** A stream that keeps its text. */
const outputOf = (fields: object = {}) => {
  const stream = new Writable({
    decodeStrings: false,
    write(chunk, _, done) {
      output.text += chunk
      done()
    },
  })
  const output = Object.assign(stream, { text: '', ...fields })
  return output
}

const ESC = '\x1b'

describe('Progress', () => {
  beforeEach(() => void vi.useFakeTimers())
  afterEach(() => void vi.useRealTimers())

  it('prints a line per phase without a terminal, and repeats a phase every ten seconds', () => {
    const output = outputOf()
    const progress = new Progress(output, { names: ['a', 'long'], dumb: false })
    for (let n = 0; n <= 12; n++) {
      progress.update('a', 'hashing', `hashing ${n}`)
      vi.advanceTimersByTime(1000)
    }
    progress.update('long', 'offered', `offered${ESC}[2J`)
    progress.settle('a', 'deal 1')
    progress.settle('long', 'failed', true)
    progress.close()
    expect(output.text.split('\n')).toEqual([
      '  a     hashing 0',
      '  a     hashing 11',
      '  long  offered?[2J',
      '✓ a     deal 1',
      '✗ long  failed',
      '',
    ])
  })

  it('draws unfinished files again in place on a terminal, below the finished ones', () => {
    const output = outputOf({ isTTY: true, columns: 40, rows: 24 })
    const progress = new Progress(output, { names: ['a', 'b'], dumb: false })
    progress.update('a', 'hashing', 'hashing')
    progress.update('b', 'hashing', `hashing ${'x'.repeat(100)}`)
    vi.advanceTimersByTime(100)
    const [first, second] = output.text.split('\n')
    expect(first).toContain(`  a  hashing${ESC}[K`)
    expect(second).toBe(`  b  hashing ${'x'.repeat(25)}…${ESC}[K`)
    output.text = ''
    progress.settle('a', 'deal 1')
    // Up two lines, clear, the finished file, then the remaining one.
    expect(output.text.startsWith(`${ESC}[2A\r${ESC}[J`)).toBe(true)
    const [finished, remaining, after] = output.text.split('\n')
    expect(finished).toMatch(/✓.* a {2}deal 1$/)
    expect(remaining).toContain('  b  hashing x')
    expect(after).toBe(`${ESC}[J`)
    progress.close()
    expect(output.text.endsWith(`${ESC}[?25h`)).toBe(true)
  })

  it('draws no more lines than the terminal has', () => {
    const output = outputOf({ isTTY: true, columns: 40, rows: 6 })
    const names = Array.from({ length: 20 }, (_, n) => `file ${n}`)
    const progress = new Progress(output, { names, dumb: false })
    for (const name of names) progress.update(name, 'offered', 'offered')
    vi.advanceTimersByTime(100)
    expect(output.text.split('\n')).toHaveLength(5)
    expect(output.text).toContain('… and 17 more')
    progress.close()
  })
})
