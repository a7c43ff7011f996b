import { chmodSync, readdirSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { isMainThread } from 'node:worker_threads'
import { UserError } from '@w3filecoin/runtime/user-error'

/** Permissions of a directory and of a file that only their owner may use. */
const PRIVATE_DIRECTORY = 0o700
const PRIVATE_FILE = 0o600
/** Permissions of a file that every user of the machine may read. */
const PUBLIC_FILE = 0o644
/** Takes all permissions of group and others from every file that this process and its children create. */
const PRIVATE_UMASK = 0o077

/** The files and directories in a data directory. SQLite and atomic writes add endings, e.g. `fauxqs.db-wal`. */
const ENTRIES = new Set([
  'chain.json',
  'dynamodb.pid',
  'dynamodb.sqlite',
  'fauxqs.db',
  'journey.json',
  'keys.json',
  'local.json',
  'lock',
  'logs',
  'market.json',
  'pid',
  'proofs',
  's3',
  'tables.sqlite',
])
const ENDING = /(-wal|-shm|-journal|\.new)$/

/**
 * Makes everything in a data directory accessible to its owner only: keys, records, content and logs. Files of the future
 * are private by the umask, whatever that of the user is. Files of earlier versions are changed now.
 *
 * The directory itself is changed only if it has nothing else in it: with `--data /tmp` it belongs to others too.
 */
export const makePrivate = (data: string): void => {
  // A worker thread cannot set the umask, which is that of the process.
  if (isMainThread) process.umask(PRIVATE_UMASK)
  const names = readdirSync(data)
  const own = names.filter(name => ENTRIES.has(name.replace(ENDING, '')))
  for (const path of own.map(name => join(data, name))) {
    // An entry may disappear meanwhile, e.g. at the end of another system.
    const stats = statSync(path, { throwIfNoEntry: false })
    if (stats) chmodSync(path, stats.isDirectory() ? PRIVATE_DIRECTORY : PRIVATE_FILE)
  }
  if (own.length === names.length) chmodSync(data, PRIVATE_DIRECTORY)
}

/**
 * Replaces a file atomically: after a crash, either the old or the new one is there. Only its owner can read it.
 *
 * @throws UserError if it cannot be written, e.g. because the disk is full
 */
export const writePrivateFile = (path: string, text: string): void => replaceFile(path, text, PRIVATE_FILE)

/** As {@link writePrivateFile}, but every user who may enter the directory can read the file. */
export const writePublicFile = (path: string, text: string): void => replaceFile(path, text, PUBLIC_FILE)

const replaceFile = (path: string, text: string, mode: number): void => {
  try {
    writeFileSync(`${path}.new`, text, { mode: PRIVATE_FILE, flush: true })
    chmodSync(`${path}.new`, mode)
    renameSync(`${path}.new`, path)
  } catch (cause) {
    throw new UserError(
      `Cannot write ${path}: ${(cause as Error).message}. Free space, or check its permissions.`,
    )
  }
}
