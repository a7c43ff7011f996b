import {
  type DealFault,
  type DealReportSuccess,
  dealReport,
  failure,
  type Place,
  parsePlaceKey,
  type Result,
} from '@w3filecoin/capabilities'
import { describeIssue, type Handler, provide, type Stored, update } from '@w3filecoin/runtime'
import type { Dependencies } from '../dependencies.ts'
import { type AggregateRecord, isFinal, MAX_REPORTED_DEALS, recordReport } from '../domain/aggregate.ts'
import { refuseUnlessBroker } from '../offers/authorize-broker.ts'
import { reportSchema } from '../queues.ts'
import { askTracker, type TrackerAnswer } from '../settlement/ask-tracker.ts'
import { findReported, readInvalid } from '../settlement/read-report.ts'
import { watchDeal } from '../settlement/watch-deal.ts'

/** Maximum number of invocations in one message: each asks the deal tracker, or reads a list of pieces. */
const MAX_PER_MESSAGE = 10

/**
 * `deal/report`: a broker reports a place of an offered aggregate, or that the offer gets no deal. A place is a hint for the deal
 * tracker, and never accepts the offer. A fault is sent to the queue `report`, as deal making sends it.
 */
export const dealReportHandler = (
  dependencies: Pick<Dependencies, 'id' | 'stores' | 'queues' | 'brokers' | 'dealTracker' | 'random' | 'log'>,
): Handler => {
  const { stores, queues, log } = dependencies

  const hearFault = async (
    record: Stored<AggregateRecord>,
    offer: string,
    { message, invalid = [] }: DealFault,
  ): Promise<Result<DealReportSuccess>> => {
    const { data: report, error } = reportSchema.safeParse(
      { offer, message, invalid: invalid.map(({ piece, message }) => ({ piece: `${piece}`, message })) },
      { reportInput: true },
    )
    if (error)
      return {
        error: newMalformed(
          'nb.fault',
          error.issues.map(describeIssue).join('; '),
          'texts of a valid length',
        ),
      }
    // The queue would send a report about other pieces to the dead letters.
    const read = await readInvalid(dependencies, record, report.invalid)
    if (read.error) return read
    await queues.report.send([report])
    return { ok: { stage: record.stage } }
  }

  /** Has the deal tracker search a reported deal. The record counts the deals first, so that no broker can fill the tracker's table. */
  const passOn = async (record: Stored<AggregateRecord>, dealID: number) => {
    const key = `${dealID}`
    const { record: current } = await update(
      stores.aggregate,
      { id: record.id },
      present => recordReport(present, key),
      { known: record },
    )
    if (current === undefined || isFinal(current)) return undefined
    if (!current.reportedDeals?.includes(key))
      return failure(
        'TooManyReports',
        `${MAX_REPORTED_DEALS} deals were reported for ${record.aggregate} already, and no further ones are searched`,
      )
    return watchDeal(dependencies, dealID)
  }

  const hearPlace = async (
    record: Stored<AggregateRecord>,
    place: Place,
    key: string,
  ): Promise<Result<DealReportSuccess>> => {
    const [answer] = await askTracker(dependencies, [record.aggregate])
    if (answer?.ok === undefined) return { error: answer!.error }
    const status = statusIn(answer.ok, key)
    const problem =
      place.type === 'market' && status !== 'Active' ? await passOn(record, place.dealID) : undefined
    if (problem) return { error: problem }
    const { asOf } = answer.ok
    return { ok: { stage: record.stage, ...(status !== undefined && { status }), asOf } }
  }

  return provide(
    dealReport,
    async input => {
      const stranger = await refuseUnlessBroker(dependencies, input)
      if (stranger) return { out: { error: stranger } }
      const { offer, place: key, fault } = input.capability.nb
      const place = key === undefined ? undefined : parsePlaceKey(key)
      if ((place === undefined) === (fault === undefined))
        return { out: { error: newMalformed('nb', place ? 'both' : 'neither', 'either a place or a fault') } }
      const { ok: record, error } = await findReported(dependencies, offer)
      if (error) return { out: { error } }
      if (isFinal(record)) return { out: { ok: { stage: record.stage } satisfies DealReportSuccess } }
      const { capability, invocation } = input
      const broker = invocation.issuer.did()
      log('info', 'broker reports', {
        offer,
        broker,
        with: capability.with,
        place: key,
        fault: fault?.message,
      })
      return {
        out: place ? await hearPlace(record, place, key as string) : await hearFault(record, offer, fault!),
      }
    },
    { maxPerMessage: MAX_PER_MESSAGE },
  )
}

/** Returns the status of a place in an answer of the deal tracker; `undefined` if it does not know the place. */
const statusIn = ({ deals, places }: TrackerAnswer, key: string): string | undefined =>
  Object.hasOwn(deals, key) ? deals[key]!.status : places.find(place => place.key === key)?.status

const newMalformed = (field: string, found: string, expected: string) =>
  failure('MalformedCapability', `${field} of deal/report: ${found}. Expected ${expected}.`, {
    field,
    found,
    expected,
  })
