import { loggedUrl } from '@w3filecoin/runtime'
import type { Report } from '../domain/report.ts'
import { newSourceError } from './source-error.ts'

/**
 * Returns the report of the nodes of a source, if they all report the same. Throws `SourcesDisagree` if they do not.
 *
 * @param urls the addresses of the nodes, in the order of the reports
 */
export const requireSameReports = (urls: readonly string[], reports: readonly Report[]): Report => {
  const [first, ...others] = reports as [Report, ...Report[]]
  for (const [n, other] of others.entries())
    if (toText(other) !== toText(first))
      throw newDisagreement([urls[0] as string, urls[n + 1] as string], first.stateEpoch)
  return first
}

/** Returns the failure of a run whose nodes do not have the same chain. */
export const newDisagreement = (urls: readonly string[], epoch: number): Error =>
  newSourceError(
    'SourcesDisagree',
    `${urls.map(loggedUrl).join(' and ')} do not agree about the chain at epoch ${epoch}`,
  )

const toText = ({ deals, stateEpoch, malformed, refused }: Report): string =>
  JSON.stringify([
    stateEpoch,
    malformed,
    refused,
    [...deals].toSorted(([a], [b]) => (`${a}` < `${b}` ? -1 : 1)),
  ])
