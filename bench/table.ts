/** An aim of a measurement, and whether it is reached. */
export interface Aim {
  name: string
  /** @example '≥ 5×' */
  aim: string
  /** @example '5.4×' */
  seen: string
  met: boolean
}

/** The result of a measurement. */
export interface Table {
  title: string
  columns: string[]
  rows: (string | number)[][]
  aims: Aim[]
  notes: string[]
}
