import type { TableEngine } from '@w3filecoin/local/table-engine'

/**
 * Returns the engine for the tables of tests: the one that the environment variable `TABLE_ENGINE` names, else the default.
 *
 * @example TABLE_ENGINE=dynamodb npm test -- test
 */
export const tableEngine = (byDefault: TableEngine): TableEngine => {
  const { TABLE_ENGINE: name = byDefault } = process.env
  if (name !== 'sqlite' && name !== 'dynamodb')
    throw new Error(`TABLE_ENGINE must be sqlite or dynamodb, not ${name}`)
  return name
}
