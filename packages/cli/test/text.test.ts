import { describe, expect, it } from 'vitest'
import { toTerminal } from '../src/text.ts'

describe('toTerminal', () => {
  it('breaks lines between words, and indents the parts like the start', () => {
    expect(toTerminal('Proven:\n  The piece is in the aggregate.', 20)).toBe(
      'Proven:\n  The piece is in\n  the aggregate.',
    )
  })

  it('keeps a longer word whole, so that it can be copied', () => {
    expect(toTerminal('the piece bafkzcibevobqccyz54 is here', 12)).toBe(
      'the piece\nbafkzcibevobqccyz54\nis here',
    )
  })

  it('leaves lines whole where there is no terminal, and the columns of a table apart', () => {
    expect(toTerminal('a  b   c'.repeat(40))).toBe('a  b   c'.repeat(40))
    expect(toTerminal('file       piece', 80)).toBe('file       piece')
  })

  it('shows control characters as question marks', () => {
    expect(toTerminal('red \u001b[31m', 80)).toBe('red ?[31m')
  })
})
