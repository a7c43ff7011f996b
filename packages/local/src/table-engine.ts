import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DynamoDBClient } from '@aws-sdk/client-dynamodb'
import type { Environment } from '@w3filecoin/runtime'
import { UserError } from '@w3filecoin/runtime/user-error'
import { createDynamoTable } from './dynamodb-tables.ts'
import type { TableMaker } from './provision.ts'

/** The engine for tables: `node:sqlite` in the thread of the services, or an engine for DynamoDB in a process. */
export type TableEngine = 'sqlite' | 'dynamodb'

/** The file of each engine in the data directory. */
export const TABLE_FILES: Readonly<Record<TableEngine, string>> = {
  sqlite: 'tables.sqlite',
  dynamodb: 'dynamodb.sqlite',
}

/** Returns the environment variables with which services and `ops` find the tables in a data directory. */
export const sqliteEnv = (data: string): Record<string, string> => ({
  TABLES_MODULE: new URL('./sqlite-tables.ts', import.meta.url).href,
  TABLES_FILE: join(data, TABLE_FILES.sqlite),
})

/** Whether an engine has stored tables in a data directory. */
export const hasTables = (data: string): boolean =>
  Object.values(TABLE_FILES).some(file => existsSync(join(data, file)))

/**
 * Refuses a data directory whose tables are those of another engine: the system would seem to be empty.
 *
 * @throws UserError
 */
export const refuseOtherEngine = (data: string, engine: TableEngine): void => {
  for (const [other, file] of Object.entries(TABLE_FILES))
    if (other !== engine && existsSync(join(data, file)))
      throw new UserError(
        `The data directory ${data} has the tables of the engine ${other} (${file}), which the engine ${engine} does not read. Pass --engine ${other} to continue it, or another --data to start from scratch.`,
      )
}

/** Opens the engine that the environment names, to create tables in it. */
export const openTableMaker = async (env: Environment): Promise<TableMaker> => {
  if (env.TABLES_FILE === undefined) {
    const client = new DynamoDBClient({})
    return { create: (name, spec) => createDynamoTable(client, name, spec), close: () => client.destroy() }
  }
  const { openTables } = await import('./sqlite-tables.ts')
  return openTables(env)
}
