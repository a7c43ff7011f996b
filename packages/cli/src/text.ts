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

/** Formats milliseconds. @example `850 ms`, `6.2 s`, `3 min 20 s` */
export const duration = (milliseconds: number): string => {
  const seconds = milliseconds / 1000
  if (seconds < 1) return `${Math.round(milliseconds)} ms`
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
}

/** Shortens a CID; keeps its end, because CIDs of one kind begin alike. @example `bafkzci…yqtp37tdbc` */
export const shortCid = (cid: string): string => `${cid.slice(0, 7)}…${cid.slice(-10)}`

/**
 * Cuts a text to a number of terminal columns. Replaces control characters: a file name may contain escape sequences,
 * which the terminal must not execute.
 */
export const fit = (text: string, columns: number): string => {
  const printable = text.replaceAll(/\p{C}/gu, '?')
  if (stringWidth(printable) <= columns) return printable
  let fitting = ''
  for (const { segment } of new Intl.Segmenter().segment(printable)) {
    if (stringWidth(fitting + segment) > columns - 1) break
    fitting += segment
  }
  return `${fitting}…`
}

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
