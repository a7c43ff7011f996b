import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { UserError } from '@w3filecoin/runtime/user-error'
import * as z from 'zod'

/**
 * The part of `local.json` that `ops` needs: where the local system's resources are, and by role the addresses of its services.
 *
 * @example { "dealTracker": { "url": "http://127.0.0.1:4004", "did": "did:key:z6Mk…" },
 *            "engines": { "AWS_ENDPOINT_URL_SQS": "http://127.0.0.1:40123" },
 *            "resources": { "storefront": { "TABLE_PIECE": "storefront-piece" } } }
 */
const LocalJson = z.looseObject({
  /** Environment variables that point the AWS SDK at the local engines. */
  engines: z.record(z.string(), z.string()),
  /** By service name, the environment variables that name its tables, queues and buckets. */
  resources: z.record(z.string(), z.record(z.string(), z.string())),
})

/** Returns the resources of the system that runs on a data directory, or `undefined` if none runs there. */
export const readRunningSystem = (data: string): z.infer<typeof LocalJson> | undefined => {
  const path = join(data, 'local.json')
  if (!existsSync(path) || !isLocked(join(data, 'lock'))) return undefined
  try {
    return LocalJson.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch (cause) {
    const reason = cause instanceof z.ZodError ? z.prettifyError(cause) : (cause as Error).message
    throw new UserError(
      `Cannot read ${path}: ${reason.replaceAll(/\s+/g, ' ')}. Restart the system with npm start, or restore the file.`,
    )
  }
}

/** The result code of SQLite if another process holds the lock. */
const SQLITE_BUSY = 5

/**
 * Whether a running system holds the lock of its data directory: an exclusive transaction on a SQLite file, which the
 * operating system drops when the process ends. Another process cannot even read an exclusively locked file.
 */
export const isLocked = (file: string): boolean => {
  if (!existsSync(file)) return false
  const database = new DatabaseSync(file, { readOnly: true })
  try {
    database.exec('PRAGMA busy_timeout = 0; SELECT count(*) FROM sqlite_master')
    return false
  } catch (cause) {
    if ((cause as { errcode?: number }).errcode === SQLITE_BUSY) return true
    throw new UserError(
      `Cannot read the lock ${file}: ${(cause as Error).message}. Stop the system that uses the directory, if one does, then remove the file.`,
    )
  } finally {
    database.close()
  }
}
