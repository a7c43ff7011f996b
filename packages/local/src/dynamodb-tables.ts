import {
  CreateTableCommand,
  DescribeTableCommand,
  type DynamoDBClient,
  type GlobalSecondaryIndex,
  ResourceInUseException,
  UpdateTableCommand,
} from '@aws-sdk/client-dynamodb'
import type { TableSpec } from '@w3filecoin/runtime/resources'
import { UserError } from '@w3filecoin/runtime/user-error'

/** Creates a table in the DynamoDB engine, or its missing indexes. Throws a `UserError` if it exists with other keys. */
export const createDynamoTable = async (
  client: DynamoDBClient,
  name: string,
  spec: TableSpec,
): Promise<void> => {
  const wanted = indexesOf(spec)
  try {
    await client.send(
      new CreateTableCommand({
        TableName: name,
        BillingMode: 'PAY_PER_REQUEST',
        AttributeDefinitions: attributesOf(spec),
        KeySchema: keyOf(spec.key),
        ...(wanted.length === 0 ? {} : { GlobalSecondaryIndexes: wanted }),
      }),
    )
  } catch (cause) {
    if (!(cause instanceof ResourceInUseException)) throw cause
    await addIndexes(client, name, spec)
  }
}

/** Adds missing indexes to a table that an earlier version created. */
const addIndexes = async (client: DynamoDBClient, name: string, spec: TableSpec): Promise<void> => {
  const { Table } = await client.send(new DescribeTableCommand({ TableName: name }))
  const same = (a: unknown, b: unknown) => JSON.stringify(a) === JSON.stringify(b)
  const keys = (schema: { AttributeName?: string | undefined; KeyType?: string | undefined }[] = []) =>
    schema.map(({ AttributeName, KeyType }) => ({ AttributeName, KeyType }))
  const existing = new Map(
    Table?.GlobalSecondaryIndexes?.map(index => [index.IndexName, keys(index.KeySchema)]),
  )
  const changed =
    !same(keys(Table?.KeySchema), keyOf(spec.key)) ||
    indexesOf(spec).some(
      ({ IndexName, KeySchema }) => existing.has(IndexName) && !same(existing.get(IndexName), KeySchema),
    )
  if (changed)
    throw new UserError(
      `The table ${name} exists with other keys. Pass another --data or remove this data directory.`,
    )
  for (const index of indexesOf(spec).filter(({ IndexName }) => !existing.has(IndexName)))
    await client.send(
      new UpdateTableCommand({
        TableName: name,
        AttributeDefinitions: attributesOf(spec),
        GlobalSecondaryIndexUpdates: [{ Create: index }],
      }),
    )
}

const attributesOf = ({ fields }: TableSpec) =>
  Object.entries(fields).map(([AttributeName, type]) => ({
    AttributeName,
    AttributeType: type === 'string' ? ('S' as const) : ('N' as const),
  }))

const keyOf = ({ hash, range }: { hash: string; range?: string }) => [
  { AttributeName: hash, KeyType: 'HASH' as const },
  ...(range === undefined ? [] : [{ AttributeName: range, KeyType: 'RANGE' as const }]),
]

const indexesOf = ({ indexes = {} }: TableSpec): GlobalSecondaryIndex[] =>
  Object.entries(indexes).map(([IndexName, key]) => ({
    IndexName,
    KeySchema: keyOf(key),
    Projection: { ProjectionType: 'KEYS_ONLY' },
  }))
