import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/**
 * The lock of a data directory: an exclusive transaction on a SQLite file of its own. The operating system drops it
 * with the process that holds it, however that ends, so no lock is ever stale.
 */
const fileIn = (data: string): string => join(data, 'lock')

/** Takes the lock, or returns `undefined` where somebody has it. */
export const lock = (data: string): DatabaseSync | undefined => {
  const database = new DatabaseSync(fileIn(data))
  try {
    database.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
    return database
  } catch {
    database.close()
    return undefined
  }
}
