import { decode } from '@ipld/dag-cbor'
import type { Row, Stored } from '@w3filecoin/runtime'
import type { Market } from './market.ts'
import type { Simulated, System } from './services.ts'

/** Rows and blocks of all services at one time, as stored: attributes have their stored names. */
export interface Snapshot {
  /** In milliseconds since 1970. */
  at: number
  services: Record<string, { tables: Record<string, Stored<Row>[]>; blocks: Record<string, Uint8Array> }>
}

/** Gives the services the rows and blocks of a snapshot, and deal making the offers and deals that it knew. */
export const restore = ({ services }: Snapshot, system: System, market: Market): void => {
  for (const [name, { tables, blocks }] of Object.entries(services)) {
    const service = system.services.get(name) as Simulated
    for (const [table, rows] of Object.entries(tables))
      for (const row of rows) service.tables[table]!.seed(row)
    for (const [cid, bytes] of Object.entries(blocks)) service.blocks.blocks.set(cid, bytes)
  }
  const { tables, blocks } = services.dealer!
  for (const row of tables.aggregate!) {
    const { id, aggregate, dealID } = row as unknown as { id: string; aggregate: string; dealID?: number }
    if (dealID !== undefined) market.deals.push({ aggregate, id: dealID })
    else if (row.stage === 'offered') {
      const pieces = decode<unknown[]>(blocks[row.pieces as string] as never).map(piece => `${piece}`)
      market.offer(`${aggregate}/${id}.json`, { aggregate, pieces })
    }
  }
}
