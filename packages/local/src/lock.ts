import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'

/**
 * Takes the lock of a data directory: an exclusive transaction on its SQLite file `lock`. Returns `undefined` if another
 * process holds it. Closing the database releases it, and so does the operating system when the process ends, even by
 * SIGKILL: a lock is never stale. `npm run ops` finds a running system by it.
 */
export const lock = (data: string): DatabaseSync | undefined => {
  const database = new DatabaseSync(join(data, 'lock'))
  try {
    database.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
    return database
  } catch {
    database.close()
    return undefined
  }
}
