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

interface DealerRow {
  id: string
  aggregate: string
  storefront: string
  group: string
  dealID?: number
}

/** Gives the services the rows and blocks of a snapshot, and deal making the offers and deals that it knew. */
export const restore = ({ at, services }: Snapshot, system: System, market: Market): void => {
  for (const [name, { tables, blocks }] of Object.entries(services)) {
    const service = system.services.get(name) as Simulated
    for (const [table, rows] of Object.entries(tables))
      for (const row of rows) service.tables[table]!.seed(row)
    for (const [cid, bytes] of Object.entries(blocks)) service.blocks.blocks.set(cid, bytes)
  }
  const { tables, blocks } = services.dealer!
  for (const row of tables.aggregate!) {
    const { id, aggregate, storefront, group, dealID } = row as unknown as DealerRow
    const offer = `${aggregate}/${id}.json`
    const pieces = decode<unknown[]>(blocks[row.pieces as string] as never).map(piece => `${piece}`)
    const document = { aggregate, pieces, tenant: storefront, group }
    if (dealID !== undefined) market.deals.push({ aggregate, id: dealID, offer, liveAt: at, numberedAt: at })
    if (row.stage === 'offered') market.offer(offer, document)
    else market.offers.set(offer, document)
  }
}
