import type { Environment, Row, Table } from '@w3filecoin/runtime'
import type { TableSpec } from '@w3filecoin/runtime/resources'

/** One of the equal parts of a table that are scanned in parallel. @example { segment: 0, segments: 8 } */
export interface Segment {
  /** From 0. */
  segment: number
  /** The number of parts. */
  segments: number
}

/** An engine for tables: DynamoDB on AWS, and on a laptop also SQLite. */
export interface Tables {
  /** @param name called on each use: the environment of a function names only the tables that it uses */
  open<R extends object>(name: () => string, spec: TableSpec): Table<R>
  /** Yields all rows of a table, or of one part of it, some at a time, for operators. */
  scan(name: string, part?: Segment): AsyncIterable<Row[]>
}

/** The module that `TABLES_MODULE` names. */
interface TablesModule {
  openTables(env: Environment): Tables
}

/**
 * Opens the engine for tables of a system that does not use DynamoDB: the local one sets `TABLES_MODULE` to the URL of a
 * module, which reads its own variables. Returns `undefined` for DynamoDB. On AWS the variable is never set.
 *
 * @example TABLES_MODULE=file:///…/packages/local/src/sqlite-tables.ts TABLES_FILE=/…/.w3filecoin/tables.sqlite
 */
export const openTables = async (env: Environment): Promise<Tables | undefined> => {
  if (env.TABLES_MODULE === undefined) return undefined
  const module: TablesModule = await import(env.TABLES_MODULE)
  return module.openTables(env)
}
