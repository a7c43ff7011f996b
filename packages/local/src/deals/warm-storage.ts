import { domainOf, EXTRA_DATA, PERMISSIONS, REQUEST_TYPES, REVERTS } from '@w3filecoin/chain'
import type { AnyLink } from '@w3filecoin/piece'
import {
  type Address,
  type ContractErrorArgs,
  type ContractErrorName,
  decodeAbiParameters,
  encodeErrorResult,
  type Hex,
  maxUint256,
  recoverTypedDataAddress,
  toHex,
} from 'viem'
import { type Chain, CONTRACTS, Revert } from './chain.ts'

/**
 * The rules of the contract FilecoinWarmStorageService for transactions that add pieces (FilecoinWarmStorageService.sol 1.3.1,
 * `dataSetCreated` and `piecesAdded`), on the stand-in for the chain. Left out are rates, removals and the CDN.
 */

/** Funds that a payer needs, in the smallest unit of the token. The contract computes them from its prices. */
const REQUIRED_FUNDS = 10n ** 17n

/** A call of `PDPVerifier.addPieces` by a provider. Without a data set, the call creates one. */
export interface AddCall {
  provider: { id: number; address: Hex }
  dataSet?: number | undefined
  pieces: readonly AnyLink[]
  extraData: Hex
}

/** The error of a reverted transaction, as `data` has it in the ABI of Ethereum. */
export class TransactionRevert extends Revert {
  override readonly data: Hex

  constructor(data: Hex, name: string) {
    super(name)
    this.data = data
  }
}

/** Registers a provider, as ServiceProviderRegistry does. Payments to it go to `payee`. */
export const registerProvider = (chain: Chain, id: number, { payee }: { payee: Hex }): void =>
  chain.record('getProviderPayee', [BigInt(id)], payee)

/** Lets a session key sign for a payer until a time, in seconds since 1970. */
export const login = (chain: Chain, { payer, key, until }: { payer: Hex; key: Hex; until: number }): void => {
  for (const permission of Object.values(PERMISSIONS))
    chain.record('authorizationExpiry', [payer, key, permission], BigInt(until))
}

/**
 * Sets the available funds of a payer, in the smallest unit of the token, and approves the service as operator. The payer pays
 * nothing, so by default the funds last for ever, as the contract has it.
 */
export const deposit = (
  chain: Chain,
  { payer, funds, untilEpoch = maxUint256 }: { payer: Hex; funds: bigint; untilEpoch?: bigint },
): void => {
  const account = [untilEpoch, funds, funds, 0n]
  chain.record('getAccountInfoIfSettled', [CONTRACTS.token, payer], account)
  const approval = [true, 2n ** 200n, 2n ** 200n, 0n, 0n, 86_400n]
  chain.record('operatorApprovals', [CONTRACTS.token, payer, CONTRACTS.service], approval)
}

/**
 * Checks a call at the head of the chain. Returns the function that carries it out.
 *
 * @throws TransactionRevert if the contract would revert it
 */
export const checkAdd = async (
  chain: Chain,
  { provider, dataSet, pieces, extraData }: AddCall,
): Promise<() => { dataSet: number; pieces: number[] }> => {
  const [create, add] =
    dataSet === undefined ? decodeAbiParameters(EXTRA_DATA.createAndAdd, extraData) : [undefined, extraData]
  const set = create
    ? await checkCreate(chain, create, provider.id)
    : findSet(chain, dataSet as number, provider.id)
  const [nonce, keys, values, signature] = decodeAbiParameters(EXTRA_DATA.add, add)
  if (isUsed(chain, set.payer, nonce) || (create && nonce === set.clientDataSetId))
    throw revert('ClientDataSetAlreadyRegistered', [nonce])
  if (keys.length !== pieces.length)
    throw revert('MetadataArrayCountMismatch', [BigInt(keys.length), BigInt(pieces.length)])
  const signer = await recoverTypedDataAddress({
    domain: toDomain(chain),
    types: REQUEST_TYPES,
    primaryType: 'AddPieces',
    message: {
      clientDataSetId: set.clientDataSetId,
      nonce,
      pieceData: pieces.map(link => ({ data: toHex((link as unknown as { bytes: Uint8Array }).bytes) })),
      pieceMetadata: keys.map((names, n) => ({
        pieceIndex: BigInt(n),
        metadata: toEntries(names, values[n]),
      })),
    },
    signature,
  })
  checkSigner(chain, set.payer, signer, PERMISSIONS.addPieces)
  checkFunds(chain, set.payer)
  return () => {
    const id = dataSet ?? chain.nextDataSetId
    if (create) {
      chain.createDataSet(id, { ...set, providerId: provider.id })
      chain.record('clientNonces', [set.payer, set.clientDataSetId], BigInt(id))
    }
    const ids = chain.addPieces(id, pieces)
    const next = BigInt((ids[0] ?? 0) + ids.length)
    chain.record('clientNonces', [set.payer, nonce], (next << 128n) | BigInt(id))
    return { dataSet: id, pieces: ids }
  }
}

interface Agreement {
  payer: Hex
  clientDataSetId: bigint
}

const checkCreate = async (chain: Chain, create: Hex, providerId: number): Promise<Agreement> => {
  const [payer, clientDataSetId, keys, values, signature] = decodeAbiParameters(EXTRA_DATA.create, create)
  if (isUsed(chain, payer, clientDataSetId)) throw revert('ClientDataSetAlreadyRegistered', [clientDataSetId])
  const payee = chain.recorded('getProviderPayee', [BigInt(providerId)]) as Hex | undefined
  if (payee === undefined) throw revert('ProviderNotRegistered', [payer])
  const signer = await recoverTypedDataAddress({
    domain: toDomain(chain),
    types: REQUEST_TYPES,
    primaryType: 'CreateDataSet',
    message: { clientDataSetId, payee, metadata: toEntries(keys, values) },
    signature,
  })
  checkSigner(chain, payer, signer, PERMISSIONS.createDataSet)
  return { payer, clientDataSetId }
}

const findSet = (chain: Chain, id: number, providerId: number): Agreement => {
  const set = chain.dataSet(id)
  if (set?.providerId !== providerId) throw revert('InvalidDataSetId', [BigInt(id)])
  if (set.endEpoch > 0) throw revert('DataSetPaymentAlreadyTerminated', [BigInt(id)])
  return { payer: set.payer, clientDataSetId: set.clientDataSetId ?? BigInt(id) }
}

const checkSigner = (chain: Chain, payer: Hex, signer: Address, permission: Hex): void => {
  const expiry = chain.recorded('authorizationExpiry', [payer, signer, permission]) as bigint
  if (signer.toLowerCase() !== payer.toLowerCase() && expiry < BigInt(chain.timestampSeconds))
    throw revert('InvalidSignature', [payer, signer])
}

const checkFunds = (chain: Chain, payer: Hex): void => {
  const account = chain.recorded('getAccountInfoIfSettled', [CONTRACTS.token, payer])
  const [, , available] = account as [bigint, bigint, bigint, bigint]
  if (available < REQUIRED_FUNDS) throw revert('InsufficientLockupFunds', [payer, REQUIRED_FUNDS, available])
  const approval = chain.recorded('operatorApprovals', [CONTRACTS.token, payer, CONTRACTS.service])
  if (!(approval as [boolean])[0]) throw revert('OperatorNotApproved', [payer, CONTRACTS.service])
}

const isUsed = (chain: Chain, payer: Hex, nonce: bigint): boolean =>
  chain.recorded('clientNonces', [payer, nonce]) !== 0n

const toDomain = ({ chainId }: Chain) => domainOf({ chain: chainId, service: CONTRACTS.service })

const toEntries = (keys: readonly string[] = [], values: readonly string[] = []) =>
  keys.map((key, n) => ({ key, value: values[n] ?? '' }))

const revert = <N extends ContractErrorName<typeof REVERTS>>(
  errorName: N,
  args: ContractErrorArgs<typeof REVERTS, N>,
): TransactionRevert =>
  new TransactionRevert(encodeErrorResult({ abi: REVERTS, errorName, args } as never), errorName)
