import { verifySignature } from '@ipld/dag-ucan'
import {
  type DealMetadata,
  describePlace,
  type FilecoinAcceptSuccess,
  type Place,
  placeIn,
  readMetadata,
  toPlaceKey,
} from '@w3filecoin/capabilities'
import { decodePiece, type EncodedInclusion, toV1, verifyInclusion } from '@w3filecoin/piece'
import type { CID } from 'multiformats/cid'
import type { ChainNode, ShownPlace } from './chain-node.ts'
import type { DealTracker } from './deal-tracker.ts'
import { W3Error } from './error.ts'
import { didOf, type Party, verifiersOf } from './keys.ts'
import { Proof, type ProofSource } from './proof.ts'
import { identify, type Source } from './source.ts'

/** Options of {@link verify}. */
export interface VerifyOptions {
  /** The storefront whose word counts: its DID, and for a `did:web` its keys or its saved DID document. */
  storefront: Party
  /** The content: checks that it has the piece, and the content CID, of the proof. */
  file?: Source | undefined
  /** Also asks this deal tracker about the deal. Without it and `node`, `verify` sends nothing. */
  dealTracker?: DealTracker | undefined
  /** Also asks this node of the chain whether the place contains the aggregate. */
  node?: ChainNode | undefined
  /** Ends the call with the reason of the signal. */
  signal?: AbortSignal | undefined
}

/**
 * The claims of a valid proof, and their limits. CIDs are text, so that the report can be printed as JSON.
 *
 * @example
 * {
 *   storefront: 'did:key:z6MkndP2…', key: 'did:key:z6MkndP2…', task: 'bafyrei…', content: 'bafkrei…', piece: 'bafkzci…',
 *   aggregate: 'bafkzci…', pieceBytes: 2097152, aggregateBytes: 34359738368,
 *   deal: { dataType: 0, dataSource: { dealID: 100001 } }, place: 'deal 100001', file: 'same', proves: ['…'], doesNotProve: ['…']
 * }
 */
export interface Report {
  /** The DID of the storefront that signed the receipt. */
  storefront: string
  /** The key that signed the receipt. */
  key: string
  /** CID of the task `filecoin/accept`. */
  task: string
  /** CID of the content. */
  content: string
  /** Piece CID v2 of the content. */
  piece: string
  /** Piece CID v2 of the aggregate. */
  aggregate: string
  /** Size of the piece, in padded bytes. */
  pieceBytes: number
  /** Size of the aggregate, in padded bytes. */
  aggregateBytes: number
  /** The place on chain that the storefront names: a deal, a sector, or a piece of a data set. */
  deal: DealMetadata
  /** The same in words, e.g. `deal 100001`, or `sector 77 of f020378`. */
  place: string
  /** Whether the file was compared with the proof. */
  file: 'same' | 'not checked'
  /** The deal as the deal tracker reports it now. Absent if it was not asked. */
  tracker?: TrackedDeal
  /** The place as a node of the chain shows it. Absent if none was asked. */
  node?: ShownPlace
  /** The proven claims, as sentences for people. */
  proves: string[]
  /** Claims that the proof does not prove, as sentences for people. */
  doesNotProve: string[]
}

/** The deal of a proof, as a deal tracker reports it. */
export interface TrackedDeal {
  /** DID of the deal tracker. */
  by: string
  /** `NotFound` if it does not know this deal or place of the aggregate. */
  status: 'Active' | 'Pending' | 'Leaving' | 'Expired' | 'Terminated' | 'NotFound' | (string & {})
  /** The provider misses proofs. */
  faulty?: true
  /** Address of the storage provider, e.g. `f01000`. */
  provider?: string
  /** The end of the deal, ISO 8601. */
  expiration?: string
  /** The last good report of each source of the deal tracker. */
  asOf: { source: string; at?: string; epoch?: number }[]
}

/**
 * Verifies a proof with no other knowledge than the storefront's key. It hashes every block, and checks the signatures of the
 * receipt and of its task, that the task is the storefront's `filecoin/accept`, and that the piece and its index entry are in
 * the aggregate (FRC-0058). Returns the proven claims.
 *
 * @param source the proof
 * @param options the storefront, and the file, the deal tracker or the node of the chain to compare the proof with
 * @example const report = await verify('photo.jpg.w3proof', { storefront: 'did:key:z6Mk…', file: 'photo.jpg' })
 * @throws W3Error `InvalidProof`; `FileMismatch` if the proof is valid, but the file is another one; `PlaceMismatch` if the
 * chain has another piece at the place; `WrongChain`, `NodeBehind` and `HistoryMissing` if the node cannot check the place; `UnknownKeys` for a
 * `did:web` without keys
 */
export const verify = async (source: ProofSource, options: VerifyOptions): Promise<Report> => {
  const { storefront, file, dealTracker, node, signal } = options
  const did = didOf(storefront)
  const verifiers = await verifiersOf(storefront)
  const proof = await Proof.read(source)
  const { receipt, invocation: task } = proof

  const issuers = [
    task.issuer.did(),
    task.audience.did(),
    task.capabilities[0].with,
    receipt.issuer?.did() ?? did,
  ]
  const other = issuers.find(issuer => issuer !== did)
  if (other !== undefined) throw invalid(`it is about a task of ${other}, not of ${did}`)
  const signatures = await Promise.all(verifiers.map(verifier => receipt.verifySignature(verifier as never)))
  const key = verifiers[signatures.findIndex(({ ok }) => ok !== undefined)]?.toDIDKey()
  if (key === undefined) throw invalid(`${did} did not sign the receipt`)
  // Another of its keys may have signed the task, earlier.
  const signed = await Promise.all(
    verifiers.map(verifier => verifySignature(task as never, verifier as never)),
  )
  if (!signed.includes(true)) throw invalid(`${did} did not sign the task`)

  const { piece, aggregate, inclusion, aux } = receipt.out.ok as FilecoinAcceptSuccess
  if (`${piece}` !== `${proof.piece}`)
    throw invalid(`the receipt is for the piece ${piece}, its task for ${proof.piece}`)
  const included = verifyInclusion({ piece, aggregate, inclusion: inclusion as EncodedInclusion })
  if (included.error) throw invalid(included.error.message)
  const place = placeIn(aux)
  if (place === undefined && !isOfLaterVersion(aux)) throw invalid('the receipt names no place on chain')

  const isSame = file !== undefined && (await isSameFile(proof, file, signal))
  const tracker = dealTracker && (await track(proof, dealTracker, signal))
  const { epoch: seenEpoch } = { ...readMetadata(aux)?.dataSource } as { epoch?: number }
  const shown = node && (await node.find(place, aggregate, { seenEpoch, signal }))
  return {
    storefront: did,
    key,
    task: proof.task,
    content: `${proof.content}`,
    piece: `${piece}`,
    aggregate: `${aggregate}`,
    pieceBytes: decodePiece(piece).ok!.size,
    aggregateBytes: decodePiece(aggregate).ok!.size,
    deal: { dataType: aux.dataType, dataSource: aux.dataSource } as DealMetadata,
    place: place ? describePlace(place) : 'a place of a kind that this version does not know',
    file: isSame ? 'same' : 'not checked',
    ...(tracker && { tracker }),
    ...(shown && { node: shown }),
    ...describe(proof, { did, place, isSame, tracker, shown }),
  }
}

const invalid = (reason: string): W3Error => new W3Error('InvalidProof', `The proof is not valid: ${reason}`)

/** Whether it is another kind of place, which this version does not know. */
const isOfLaterVersion = (aux: unknown): boolean => {
  const { dataType, dataSource } = (aux ?? {}) as { dataType?: unknown; dataSource?: unknown }
  return (
    Number.isSafeInteger(dataType) &&
    (dataType as number) > 2 &&
    typeof dataSource === 'object' &&
    dataSource !== null
  )
}

const RAW = 0x55
const SHA2_256 = 0x12

/** Checks that the file has the piece of the proof, and its content CID if that is the hash of the bytes. */
const isSameFile = async (proof: Proof, file: Source, signal: AbortSignal | undefined): Promise<true> => {
  const found = await identify(file, signal && { signal })
  if (`${found.piece}` !== `${proof.piece}`)
    throw new W3Error(
      'FileMismatch',
      `The file has the piece ${found.piece}, the proof is for ${proof.piece}`,
      {
        hint: 'Pass the file as it was added, unchanged.',
      },
    )
  const content = proof.content as CID
  const isHash = content.code === RAW && content.multihash.code === SHA2_256
  if (isHash && `${found.content}` !== `${content}`)
    throw new W3Error('FileMismatch', `The file has the CID ${found.content}, the proof is for ${content}`)
  return true
}

const track = async (
  { aggregate, place }: Proof,
  dealTracker: DealTracker,
  signal: AbortSignal | undefined,
): Promise<TrackedDeal> => {
  const { deals, places, asOf } = await dealTracker.find(aggregate, { signal })
  const by = dealTracker.did
  const key = place && toPlaceKey(place)
  const found = place?.type === 'market' ? deals[place.dealID] : places.find(other => other.key === key)
  if (place === undefined || found === undefined) return { by, status: 'NotFound', asOf }
  const { status, provider, expiration, pieceCid } = found
  // Earlier deal trackers do not name the piece.
  const expected = toV1(aggregate).ok?.root
  if (pieceCid !== undefined && pieceCid !== `${expected}`)
    throw new W3Error(
      'InvalidAnswer',
      `${by} was asked for the aggregate ${expected}, and reports that ${describePlace(place)} contains ${pieceCid}`,
      { hint: 'Ask another deal tracker, or look the place up on chain.' },
    )
  return {
    by,
    status,
    ...('faulty' in found && found.faulty && { faulty: true as const }),
    provider,
    ...(expiration !== undefined && { expiration }),
    asOf,
  }
}

const describe = (
  { content, piece, aggregate }: Proof,
  {
    did,
    place,
    isSame,
    tracker,
    shown,
  }: {
    did: string
    place: Place | undefined
    isSame: boolean
    tracker: TrackedDeal | undefined
    shown: ShownPlace | undefined
  },
): Pick<Report, 'proves' | 'doesNotProve'> => {
  const deal = place ? describePlace(place) : 'a place on chain'
  const isShown = shown && isOnChain(shown, place)
  return {
    proves: [
      `The piece ${piece} and its index entry are in the aggregate ${aggregate}.`,
      `${did} states that the content ${content} has this piece, and that ${deal} contains the aggregate.`,
      ...(isSame ? ['The file has this piece.'] : []),
      ...(tracker && tracker.status !== 'NotFound'
        ? [`${tracker.by} states that ${deal} is ${tracker.status} now${althoughFaulty(tracker)}.`]
        : []),
      ...(isShown
        ? [
            `${shown.by} shows that ${deal} contains the aggregate, and is ${shown.status} at epoch ${shown.epoch}${althoughFaulty(shown)}.`,
          ]
        : []),
    ],
    doesNotProve: [
      ...(tracker || shown
        ? []
        : [`That ${deal} exists on chain now: ask a deal tracker, or a node of the chain.`]),
      ...(tracker?.status === 'NotFound'
        ? [`That ${deal} exists on chain: ${tracker.by} does not know it.`]
        : []),
      ...(shown && !isShown ? [`That ${deal} exists on chain: ${reasonOf(shown)}.`] : []),
      ...(isSame ? [] : ['That a file at hand is the content: pass the file.']),
      'That the storage provider serves the content.',
      ...(place?.type === 'pdp'
        ? ['That the data is sealed: PDP proves that the provider answers random challenges about it.']
        : []),
      ...(place?.type === 'pdp' && !tracker
        ? ['That the provider answers these challenges: ask a deal tracker.']
        : []),
      'When the receipt was signed.',
    ],
  }
}

/** Whether the chain shows that a place contains the aggregate. The contents of a sector that has ended are not checked. */
const isOnChain = ({ status }: ShownPlace, place: Place | undefined): boolean =>
  status === 'Active' ||
  (place?.type !== 'sector' && (status === 'Pending' || status === 'Expired' || status === 'Terminated'))

const althoughFaulty = ({ faulty }: { faulty?: true }): string =>
  faulty ? ', although its provider misses proofs' : ''

const reasonOf = ({ by, status, epoch }: ShownPlace): string => {
  switch (status) {
    case 'NotFound':
      return `${by} does not show it at epoch ${epoch}`
    case 'UnknownVerifier':
      return 'its contract is not the PDPVerifier whose data sets count'
    case 'Expired':
    case 'Terminated':
      return `${by} shows that it is ${status} at epoch ${epoch}`
    default:
      return `a place of this kind cannot be checked at ${by}`
  }
}
