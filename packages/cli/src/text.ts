import { relative } from 'node:path'
import type { Place } from '@w3filecoin/capabilities'
import stringWidth from 'string-width'

/** Formats a count. @example `1,234` */
export const count = (n: number): string => n.toLocaleString('en')

/** Formats a number of bytes with up to three digits. @example `12 B`, `3.4 kB`, `5.6 MB` */
export const bytes = (n: number): string => {
  const units = ['B', 'kB', 'MB', 'GB', 'TB']
  let value = n
  let unit = 0
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000
    unit++
  }
  return `${unit === 0 || value >= 99.95 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`
}

/** Formats milliseconds. @example `850 ms`, `6.2 s`, `3 min 20 s`, `5 h 2 min`, `14 d 3 h` */
export const duration = (milliseconds: number): string => {
  const seconds = milliseconds / 1000
  if (seconds < 1) return `${Math.round(milliseconds)} ms`
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  const minutes = Math.floor(seconds / 60)
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`
  const hours = Math.floor(minutes / 60)
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`
}

/** Shortens a CID; keeps its end, because CIDs of one kind begin alike. @example `bafkzci…yqtp37tdbc` */
export const shortCid = (cid: string): string => `${cid.slice(0, 7)}…${cid.slice(-10)}`

/** Replaces control characters: names of files and messages of services may contain escape sequences, which the terminal must not execute. */
export const printable = (text: string): string => text.replaceAll(/[^\P{C}\n]/gu, '?')

/** Cuts a text to a number of terminal columns, and to one line of printable characters. */
export const fit = (text: string, columns: number): string => {
  const line = printable(text).replaceAll('\n', '?')
  if (stringWidth(line) <= columns) return line
  let fitting = ''
  for (const { segment } of new Intl.Segmenter().segment(line)) {
    if (stringWidth(fitting + segment) > columns - 1) break
    fitting += segment
  }
  return `${fitting}…`
}

/**
 * Cuts a text to a number of terminal columns, as {@link fit} does, but between two words if one fits.
 *
 * @example fitWords('No progress for 180 s', 16) // 'No progress for …'
 */
export const fitWords = (text: string, columns: number): string => {
  const whole = fit(text, Infinity)
  const cut = fit(whole, columns)
  if (cut === whole) return whole
  const space = cut.lastIndexOf(' ')
  const endsWord = whole[cut.length - 1] === ' '
  return endsWord || space <= 0 ? cut : `${cut.slice(0, space)} …`
}

/**
 * Breaks a text into lines of at most this many columns, between words. A longer word has a line of its own, whole: a path
 * or a CID can then be copied.
 */
export const wrap = (text: string, columns: number): string[] => {
  const lines: string[] = []
  let line: string | undefined
  for (const word of text.split(' ')) {
    const longer = line === undefined ? word : `${line} ${word}`
    if (line === undefined || stringWidth(longer) <= columns) line = longer
    else {
      lines.push(line)
      line = word
    }
  }
  return [...lines, line ?? '']
}

/**
 * Returns the text as a terminal shows it: its printable characters, its lines broken as {@link wrap} does. The parts of a
 * line are indented like its start.
 *
 * @param columns the width of the terminal; `undefined` leaves the lines whole
 */
export const toTerminal = (text: string, columns = Infinity): string =>
  printable(text)
    .split('\n')
    .flatMap(line => {
      const indent = /^ */.exec(line)![0]
      return wrap(line.slice(indent.length), columns - indent.length).map(part =>
        `${indent}${part}`.trimEnd(),
      )
    })
    .join('\n')

/** Cuts or pads a text on the right, to exactly this number of columns. */
export const left = (text: string, columns: number): string => {
  const fitting = fit(text, columns)
  return fitting + ' '.repeat(Math.max(0, columns - stringWidth(fitting)))
}

/** Pads a text on the left. */
export const right = (text: string, columns: number): string => text.padStart(columns)

/** Formats a table: a line for the heads and one for each row, in aligned columns. */
export const table = (heads: readonly string[], rows: readonly (readonly string[])[]): string[] => {
  const widths = heads.map((head, n) =>
    Math.max(...[head, ...rows.map(row => row[n] ?? '')].map(cell => stringWidth(cell))),
  )
  return [heads, ...rows].map(row =>
    row
      .map((cell, n) => left(cell, widths[n]!))
      .join('  ')
      .trimEnd(),
  )
}

/** Shortens a path below the working directory. @example `photos/cat.jpg` */
export const shownPath = (path: string, cwd: string): string => {
  const short = relative(cwd, path)
  return short !== '' && !short.startsWith('..') ? short : path
}

/** Formats an error or a failure of the protocol as one line. */
export const formatReason = (error: unknown): string => {
  const { name = 'Error', message = `${error}` } = error as { name?: string; message?: string }
  return name === 'Error' ? message : `${name}: ${message}`
}

/**
 * Describes a place in few characters: without the chain and the contract of a data set.
 *
 * @example shortenPlace(pdp) // 'data set 1, piece 0'
 */
export const shortenPlace = (place: Place): string => {
  switch (place.type) {
    case 'market':
      return `deal ${place.dealID}`
    case 'sector':
      return `${place.miner}, sector ${place.sector}`
    case 'pdp':
      return `data set ${place.dataSet}, piece ${place.piece}`
  }
}
