import { FilecoinNode } from '@w3filecoin/local/filecoin-node'
import type { Fetch } from '@w3filecoin/runtime'
import { configSchema } from '../src/config.ts'
import { type KnownDeal, toStatus } from '../src/domain/deal.ts'
import { diffSnapshot, EMPTY_SNAPSHOT, type Snapshot } from '../src/domain/snapshot.ts'
import { NOTHING_WATCHED, type Watched } from '../src/domain/watch.ts'
import { openSource } from '../src/sources/open-source.ts'

/** A node at epoch 10,000, whose last final epoch is 9,995. */
export const startNode = () => new FilecoinNode()

/**
 * Reads a source of nodes of Filecoin run by run, and accepts each report as the tracker does.
 *
 * @param settings of the source, without its name and nodes
 */
export const startReading = (settings: object) => {
  const servers: { close: () => Promise<void> }[] = []
  const reading = {
    /** The last accepted run. */
    snapshot: EMPTY_SNAPSHOT as Snapshot,
    /** The queries for events that were sent, as [first, last] epochs. */
    ranges: [] as [number, number][],
    listen: async (node: FilecoinNode): Promise<string> => {
      const server = await node.chain.listen()
      servers.push(server)
      return server.url
    },
    close: () => Promise.all(servers.splice(0).map(server => server.close())),
    open: (rpc: readonly string[], more: object = {}) =>
      openSource(configOf({ rpc, ...settings, ...more }), { fetch: recorded }),
    read: async (rpc: readonly string[], { watched = NOTHING_WATCHED, ...more }: More = {}) => {
      const report = await reading.open(rpc, more).read(reading.snapshot, watched)
      const { changes, deals } = diffSnapshot(reading.snapshot, report, 1)
      reading.snapshot = { stateEpoch: report.stateEpoch, deals, refused: report.refused }
      return { report, changes }
    },
  }
  const recorded: Fetch = (url, init) => {
    for (const { params } of [JSON.parse(`${init?.body}`)].flat())
      if (params?.[0]?.fromHeight !== undefined)
        reading.ranges.push([params[0].fromHeight, params[0].toHeight])
    return fetch(url, init)
  }
  return reading
}

interface More {
  watched?: Watched
  [setting: string]: unknown
}

export const configOf = (source: object) =>
  configSchema.parse({ sources: [{ name: 'source', network: 'localnet', ...source }] }).sources[0]!

/** Describes deals by the number of their sector, or by their id, and their state. @example '77 Active, faulty' */
export const statesOf = (deals: Iterable<KnownDeal>, epochMs = 0): string[] =>
  [...deals].map(deal => {
    const { place, condition } = deal
    const number = place.type === 'sector' ? place.sector : place.type === 'market' ? place.dealID : ''
    return `${number} ${toStatus(deal, epochMs)}${condition === 'faulty' ? ', faulty' : ''}`
  })
