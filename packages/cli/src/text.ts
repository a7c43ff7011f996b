import stringWidth from 'string-width'

/** How what the display says is written. */

/** `1,234`. */
export const count = (n: number): string => n.toLocaleString('en')

/** `12 B`, `3.4 kB`, `5.6 MB`: three digits are enough. */
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

/** `850 ms`, `6.2 s`, `3 min 20 s`. */
export const duration = (milliseconds: number): string => {
  const seconds = milliseconds / 1000
  if (seconds < 1) return `${Math.round(milliseconds)} ms`
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  return `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`
}

/** CIDs of one kind begin alike; their ends tell them apart. */
export const shortCid = (cid: string): string => `${cid.slice(0, 7)}…${cid.slice(-10)}`

/** As much of the text as fits into so many columns. File names may be anything; a terminal must not obey them. */
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

/** The text in exactly so many columns. */
export const left = (text: string, columns: number): string => {
  const fitting = fit(text, columns)
  return fitting + ' '.repeat(Math.max(0, columns - stringWidth(fitting)))
}

export const right = (text: string, columns: number): string => text.padStart(columns)

/** Rows under their heads, each column as wide as it needs to be. */
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
