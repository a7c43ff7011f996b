import { type Failure, failure } from '@w3filecoin/capabilities'

/** Bounds on the workflows that spaces may start. A space without a provider is not listed: it shares one bound with all such spaces. */
export interface Admission {
  /** Whether spaces that are not listed may start workflows. */
  spaces: 'open' | 'listed'
  /** Maximum new workflows in one day: of each listed space, and of all spaces that are not listed together. */
  offersPerDay: PerDay
  /** Of these, the maximum that have a nonce. */
  noncesPerDay: PerDay
}

/** Bounds on the uploads that spaces get addresses for. */
export interface UploadAdmission {
  /** Which spaces get addresses. */
  spaces: 'listed' | 'open'
  /** Maximum size of one upload, in bytes: S3 takes up to 5 GiB with one `PUT`. */
  maxBytes: number
  /** Maximum addresses in one day: of each listed space, and of all spaces that are not listed together. */
  perDay: PerDay
  /** Maximum bytes of these uploads. */
  bytesPerDay: PerDay
}

interface PerDay {
  listed: number
  shared: number
}

/**
 * Counts the workflows that a space started on one day, and the uploads that it got addresses for. The counts may be too high:
 * a run may be killed between the count and the offer.
 *
 * @example { owner: 'did:key:z6Mk…', day: '2027-02-03', offers: 120, nonces: 3, uploads: 2, uploadBytes: 70000, expiresAt: 1801958400 }
 */
export interface QuotaRecord {
  /** DID of a listed space; {@link SHARED} for all other spaces. */
  owner: string
  /** A day in UTC. */
  day: string
  /** Absent if there were uploads only. */
  offers?: number
  nonces?: number
  /** Absent if there was no upload. */
  uploads?: number
  uploadBytes?: number
  /** New addresses for receipts. Absent if there were none. */
  addresses?: number
  /** Time after which the row may be removed, in seconds since 1970. */
  expiresAt: number
}

/** The owner of the count of all spaces that are not listed. */
const SHARED = 'shared'

const DAY_MS = 24 * 60 * 60 * 1000

/** A space that makes an offer, and its provider if it is listed. */
export interface Space {
  did: string
  provider?: string | undefined
}

/** Returns the key of the count for a space now. */
export const quotaKey = ({ did, provider }: Space, now: number): { owner: string; day: string } => ({
  owner: provider === undefined ? SHARED : did,
  day: new Date(now).toISOString().slice(0, 10),
})

/** Returns the time when a count made now may be removed, in seconds since 1970: one day after the end of its day. */
export const quotaExpiry = (now: number): number => (endOfDay(now) + DAY_MS) / 1000

const endOfDay = (now: number): number => (Math.floor(now / DAY_MS) + 1) * DAY_MS

/** Returns why an offer that is counted like this exceeds a bound; `undefined` if it does not. */
export const findExcess = (
  { offers = 0, nonces = 0 }: Pick<QuotaRecord, 'offers' | 'nonces'>,
  { provider }: Space,
  hasNonce: boolean,
  { offersPerDay, noncesPerDay }: Admission,
  now: number,
): Failure | undefined => {
  const { kind, owner, retryAt } = allowanceOf(provider, now)
  const excess = (what: string, limit: number): Failure =>
    failure(
      'TooManyOffers',
      `${owner} may start ${limit} workflows ${what}a day, and this is one more. Repeat the offer after ${retryAt}.`,
      { retryAt },
    )
  if (offers > offersPerDay[kind]) return excess('', offersPerDay[kind])
  if (hasNonce && nonces > noncesPerDay[kind]) return excess('with a nonce ', noncesPerDay[kind])
  return undefined
}

/** Returns why an upload that is counted like this exceeds a bound; `undefined` if it does not. */
export const findUploadExcess = (
  { uploads = 0, uploadBytes = 0 }: Pick<QuotaRecord, 'uploads' | 'uploadBytes'>,
  { provider }: Space,
  { perDay, bytesPerDay }: Pick<UploadAdmission, 'perDay' | 'bytesPerDay'>,
  now: number,
): Failure | undefined => {
  const { kind, owner, retryAt } = allowanceOf(provider, now)
  const excess = (limit: string): Failure =>
    failure(
      'TooManyUploads',
      `${owner} may upload ${limit} a day, and this is more. Repeat the invocation after ${retryAt}.`,
      { retryAt },
    )
  if (uploads > perDay[kind]) return excess(`${perDay[kind]} contents`)
  if (uploadBytes > bytesPerDay[kind]) return excess(`${bytesPerDay[kind]} bytes`)
  return undefined
}

/**
 * Returns why new addresses for receipts that are counted like this exceed a bound; `undefined` if they do not. A space may name
 * as many in one day as it may start workflows.
 */
export const findAddressExcess = (
  { addresses = 0 }: Pick<QuotaRecord, 'addresses'>,
  { provider }: Space,
  { offersPerDay }: Pick<Admission, 'offersPerDay'>,
  now: number,
): Failure | undefined => {
  const { kind, owner, retryAt } = allowanceOf(provider, now)
  const limit = offersPerDay[kind]
  if (addresses <= limit) return undefined
  return failure(
    'TooManyReceiptsAddresses',
    `${owner} may name ${limit} new addresses for receipts a day, and this is one more. Repeat the offer after ${retryAt}, or without an address to get its tasks.`,
    { retryAt },
  )
}

/** Returns which allowance a space has, its owner for messages, and the time at which the next one begins. */
const allowanceOf = (provider: string | undefined, now: number) => ({
  kind: provider === undefined ? ('shared' as const) : ('listed' as const),
  owner: provider === undefined ? 'Spaces without a provider here together' : 'A space',
  retryAt: new Date(endOfDay(now)).toISOString(),
})
