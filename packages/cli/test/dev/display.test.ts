import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import type { Skipped } from '../../src/dev/content.ts'
import { createDisplay } from '../../src/dev/display.ts'
import type { Stage, Trip } from '../../src/dev/journey.ts'
import { Terminal } from './terminal.ts'

const tripOf = (n: number): Trip => ({
  file: { path: `/files/file-${n}.bin`, name: `file-${n}.bin`, size: 1000 * n },
  stage: 'found',
  turn: 0,
  hashed: 0,
  before: 'nothing',
})

const trips = (count: number): Trip[] => Array.from({ length: count }, (_, n) => tripOf(n + 1))

describe('the display on a terminal', () => {
  beforeEach(() => {
    vi.useFakeTimers()
  })
  afterEach(() => {
    vi.useRealTimers()
  })

  const show = (terminal: Terminal, files: readonly Trip[], skipped: readonly Skipped[] = []) => {
    const display = createDisplay(terminal, { json: false, dumb: false })
    display.found('files', files, skipped)
    const move = (trip: Trip, stage: Stage) => {
      trip.stage = stage
      display.progress(trip)
    }
    const fail = (trip: Trip, failure: string) => {
      trip.failure = failure
      display.progress(trip)
    }
    return { display, move, fail, draw: () => vi.advanceTimersByTime(100) }
  }
  const occurrences = (terminal: Terminal, text: string) => terminal.screen.join('\n').split(text).length - 1

  it('follows each of 32 files on 80 columns and 24 rows', () => {
    const terminal = new Terminal(80, 24)
    const files = trips(32)
    const { move, fail, draw } = show(terminal, files)
    move(files[0]!, 'accepted')
    move(files[16]!, 'submitted')
    files[30]!.hashed = 13_950
    move(files[30]!, 'hashing')
    fail(files[31]!, 'InvalidContentPiece: other bytes')
    draw()
    for (const { file } of files) expect(occurrences(terminal, `${file.name} `), file.name).toBe(1)
    expect(terminal.screen.find(row => row.includes('file-1.bin'))).toMatch(
      /^✓ file-1\.bin +1\.0 kB {2}●●●●● {5}file-17\.bin +17\.0 kB {2}●●●○○$/,
    )
    expect(terminal.screen.join('\n')).toMatch(/file-31\.bin +31\.0 kB {3}45 %/)
    expect(terminal.screen.join('\n')).toMatch(/✗ file-32\.bin +32\.0 kB {2}failed/)
    expect(terminal.screen).toContain('  file-32.bin: InvalidContentPiece: other bytes')
    expect(terminal.screen.length).toBeLessThanOrEqual(24)
  })

  it('shows the files that move, with the counts of all, if the files are too many', () => {
    const terminal = new Terminal(80, 24)
    const files = trips(500)
    const { move, draw } = show(terminal, files)
    for (const trip of files.slice(0, 400)) move(trip, 'offered')
    move(files[7]!, 'submitted')
    draw()
    expect(terminal.screen.join('\n')).toMatch(/offered .*400 of 500/)
    expect(terminal.screen.find(row => row.includes('file-8.bin'))).toMatch(
      /●●●○○ {2}waits for an aggregate$/,
    )
    for (const n of [398, 399, 400]) expect(occurrences(terminal, `file-${n}.bin `)).toBe(1)
    expect(occurrences(terminal, 'file-9.bin ')).toBe(0)
    expect(terminal.screen.length).toBeLessThanOrEqual(24)
  })

  it.each([5, 32, 500])('leaves no stale line when the terminal changes its size: %i files', count => {
    const terminal = new Terminal(120, 40)
    const files = trips(count)
    const { display, move, fail, draw } = show(terminal, files)
    const check = () => {
      draw()
      expect(
        terminal.lines.filter(line => / of \d+ accepted/.test(line)),
        'elapsed',
      ).toHaveLength(1)
      for (const { file } of files) expect(occurrences(terminal, `${file.name} `)).toBeLessThanOrEqual(1)
      for (const row of terminal.screen) expect(row.length).toBeLessThanOrEqual(terminal.columns)
    }
    for (const trip of files.slice(0, 4)) move(trip, 'submitted')
    fail(files[4]!, `No progress for 180 s after it was found (${'some long reason '.repeat(10)})`)
    check()
    for (const columns of [80, 61, 40, 25, 100, 30]) {
      terminal.resize(columns)
      check()
    }
    terminal.resize(80, 24)
    check()
    display.finished(files, { details: 'journey.json', proofs: 'proofs' })
    expect(terminal.lines.filter(line => / of \d+ accepted/.test(line))).toEqual([])
    expect(terminal.lines.at(-2)).toBe(`${count} files: 0 accepted, 1 failed`)
  })

  it('breaks no sentence in a word', () => {
    const terminal = new Terminal(80, 24)
    const files = trips(3)
    const failure =
      'The deal tracker refuses to answer about this aggregate, because it knows no deal of it yet.'
    const skipped: Skipped[] = [
      { name: 'secret', reason: 'unreadable', detail: 'permission denied' },
      ...Array.from({ length: 9 }, (_, n) => ({ name: `.hidden-${n}`, reason: 'hidden' as const })),
    ]
    const { display, move, fail, draw } = show(terminal, files, skipped)
    move(files[0]!, 'submitted')
    fail(files[1]!, failure)
    draw()
    expect(terminal.screen.find(row => row.includes('file-1.bin'))).toMatch(/waits for an aggregate$/)
    expect(terminal.screen.find(row => row.includes('file-2.bin'))).toMatch(
      / {2}The deal tracker refuses to …$/,
    )
    expect(terminal.screen).toContain(
      'Skipped 10 entries: 1 unreadable (secret: permission denied), 9 hidden',
    )
    expect(terminal.screen).toContain('(.hidden-0, .hidden-1, .hidden-2 and 6 more).')
    move(files[0]!, 'accepted')
    files[0]!.tookMs = 1
    fail(files[2]!, failure)
    display.finished(files, { details: 'journey.json', proofs: 'proofs' })
    // No row goes on in the next one: the display itself broke the lines.
    expect(terminal.screen).toEqual(terminal.lines)
    expect(terminal.screen.join(' ')).toContain(failure)
    expect(terminal.screen.at(-2)).toBe('3 files: 1 accepted, 2 failed; 1 could not be read')
  })
})
