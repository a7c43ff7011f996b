import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { UserError } from '@w3filecoin/runtime/user-error'

/** The result code of SQLite if another process holds the lock. */
const SQLITE_BUSY = 5

/**
 * Takes the lock of a data directory: an exclusive transaction on its SQLite file `lock`. Returns `undefined` if another
 * process holds it. Closing the database releases it, and so does the operating system when the process ends, even by
 * SIGKILL: a lock is never stale. `npm run ops` finds a running system by it.
 *
 * @throws UserError if the file is not a SQLite database, or cannot be opened
 */
export const lock = (data: string): DatabaseSync | undefined => {
  const path = join(data, 'lock')
  let database: DatabaseSync | undefined
  try {
    database = new DatabaseSync(path)
    database.exec('PRAGMA busy_timeout = 0; BEGIN EXCLUSIVE')
    return database
  } catch (cause) {
    database?.close()
    if ((cause as { errcode?: number }).errcode === SQLITE_BUSY) return undefined
    throw new UserError(
      `Cannot lock the data directory by its file ${path}: ${(cause as Error).message}. Stop the system that uses the directory, if one does, then remove the file.`,
    )
  }
}
