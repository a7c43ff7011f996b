import { readFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import {
  type ChainNode,
  chainNode,
  connect,
  dealTracker,
  type Party,
  type Report,
  verify as verifyProof,
  W3Error,
} from '@w3filecoin/client'
import type { Context } from '../context.ts'
import { type Outcome, usageError } from '../outcome.ts'
import { table } from '../text.ts'
import { keyFileOf, localSystemOf, readDelegations } from './connection.ts'

export interface VerifyOptions {
  file?: string
  /** The DID of the storefront, or its URL. */
  storefront?: string
  keys?: string[]
  document?: string
  online?: boolean
  tracker?: string
  rpc?: string
  pdpVerifier?: string
  network?: string
  data?: string
  key?: string
  with?: string
  delegation?: string[]
}

/** Verifies a proof against the keys of the storefront that the user trusts. The proof does not say which one that is. */
export const verify = async (path: string, options: VerifyOptions, context: Context): Promise<Outcome> => {
  const { cwd, signal } = context
  const trusted = await readTrusted(options, context)
  const tracker = await connectToTracker(options, context)
  const report = await verifyProof(resolve(cwd, path), {
    storefront: trusted.party,
    file: options.file === undefined ? undefined : resolve(cwd, options.file),
    dealTracker: tracker,
    node: nodeOf(options, context),
    signal,
  })
  const result = { proof: path, trusted: trusted.from, ...report }
  return { result, lines: linesOf(path, trusted.from, report), error: errorOf(report) }
}

/** Returns the storefront whose word counts, and who says so. */
const readTrusted = async (
  options: VerifyOptions,
  context: Context,
): Promise<{ party: Party; from: string }> => {
  const { keys, document } = options
  const named = options.storefront ?? context.env.W3FIL_STOREFRONT
  if (named) {
    const from = options.storefront === undefined ? 'W3FIL_STOREFRONT' : '--storefront'
    if (named.startsWith('did:'))
      return { party: { did: named, keys, document: await readDocument(document, context) }, from }
    if (keys !== undefined || document !== undefined)
      throw usageError('--keys and --document need the DID of the storefront', 'Pass --storefront did:web:…')
    const { fetch, signal } = context
    const storefront = await connect(named, { key: keyFileOf(options, context), fetch, signal })
    return { party: await storefront.keys(), from: `${from}, which ${storefront.url} answered for` }
  }
  if (keys !== undefined || document !== undefined)
    throw usageError('--keys and --document need the DID of the storefront', 'Pass --storefront did:web:…')
  const local = localSystemOf(options, context)
  if (local) return { party: local.storefront.did, from: local.file }
  throw new W3Error('NoStorefront', 'No storefront is named whose signature counts', {
    hint: 'Pass --storefront DID (or set W3FIL_STOREFRONT): a proof cannot say itself who is to be trusted.',
  })
}

const readDocument = async (path: string | undefined, { cwd }: Context): Promise<unknown> => {
  if (path === undefined) return undefined
  try {
    return JSON.parse(await readFile(resolve(cwd, path), 'utf8'))
  } catch (cause) {
    throw new W3Error('InvalidSource', `Cannot read the DID document ${path}: ${(cause as Error).message}`, {
      hint: 'Pass a saved https://STOREFRONT/.well-known/did.json.',
      cause,
    })
  }
}

const connectToTracker = async (options: VerifyOptions, context: Context) => {
  const named = options.tracker ?? context.env.W3FIL_TRACKER
  if (options.tracker === undefined && !options.online) return undefined
  const local = named ? undefined : localSystemOf(options, context)
  const url = named || (local?.isRunning ? local.dealTracker.url : undefined)
  if (!url)
    throw new W3Error('NoTracker', 'No deal tracker is named, and no local system is running', {
      hint: 'Pass --tracker URL (or set W3FIL_TRACKER), or leave out --online.',
    })
  return dealTracker(url, {
    key: keyFileOf(options, context),
    with: options.with,
    proofs: await readDelegations(options.delegation, context),
    fetch: context.fetch,
    signal: context.signal,
  })
}

const nodeOf = ({ rpc, pdpVerifier, network }: VerifyOptions, { fetch }: Context): ChainNode | undefined => {
  if (rpc === undefined) {
    if (pdpVerifier === undefined && network === undefined) return undefined
    const option = network === undefined ? '--pdp-verifier' : '--network'
    throw usageError(`${option} needs a node of the chain`, 'Pass --rpc https://NODE/rpc/v1')
  }
  if (!/^https?:$/.test(URL.parse(rpc)?.protocol ?? ''))
    throw usageError(`--rpc ${rpc} is not an http or https URL`, 'Pass --rpc https://NODE/rpc/v1')
  if (pdpVerifier !== undefined && !/^0x[0-9a-fA-F]{40}$/.test(pdpVerifier))
    throw usageError(
      `--pdp-verifier ${pdpVerifier} is not an address`,
      'Pass 0x and 40 hexadecimal digits, or leave out --pdp-verifier.',
    )
  return chainNode(rpc, { verifier: pdpVerifier, network, fetch })
}

const errorOf = ({ tracker, node, place }: Report): W3Error | undefined => {
  if (tracker && tracker.status !== 'Active')
    return new W3Error(
      'DealNotActive',
      `The proof is valid, but ${tracker.by} reports ${place} as ${tracker.status}`,
      {
        hint: 'Ask the storefront for the present places with w3fil status, or ask the deal tracker again later.',
        retryable: tracker.status === 'NotFound',
      },
    )
  switch (node?.status) {
    case undefined:
    case 'Active':
      return undefined
    case 'NotChecked':
      return new W3Error('PlaceNotChecked', `The proof is valid, but ${place} cannot be checked with --rpc`, {
        hint: 'Ask a deal tracker with --tracker, or look the place up with an explorer of the chain.',
      })
    case 'UnknownVerifier':
      return new W3Error(
        'PlaceNotChecked',
        `The proof is valid, but it names another contract than the PDPVerifier that counts: ${place}`,
        { hint: 'If you trust this contract, pass its address with --pdp-verifier.' },
      )
    default:
      return new W3Error(
        'DealNotActive',
        `The proof is valid, but ${node?.by} shows ${place} as ${node?.status} at epoch ${node?.epoch}`,
        {
          hint: 'Ask the storefront for the present places with w3fil status, or ask the node again later.',
          retryable: node?.status === 'NotFound',
        },
      )
  }
}

const statusOf = ({ status, faulty }: { status: string; faulty?: true }): string =>
  `${status}${faulty ? ', but its provider misses proofs' : ''}`

const linesOf = (path: string, from: string, report: Report): string[] => [
  `${path} is valid`,
  '',
  ...table(
    ['', ''],
    [
      ['signed by', `${report.storefront} (from ${from})`],
      ['content', report.content],
      ['piece', report.piece],
      ['aggregate', report.aggregate],
      ['on chain', report.place],
      ['task', report.task],
      ...(report.tracker ? [['now', `${statusOf(report.tracker)}, says ${report.tracker.by}`]] : []),
      ...(report.node ? [['chain', `${statusOf(report.node)}, says ${report.node.by}`]] : []),
    ],
  )
    .slice(1)
    .map(line => `  ${line}`),
  '',
  'Proven:',
  ...report.proves.map(sentence => `  ${sentence}`),
  '',
  'Not proven:',
  ...report.doesNotProve.map(sentence => `  ${sentence}`),
]
