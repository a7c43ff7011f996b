import {
  type Address,
  encodeAbiParameters,
  type Hex,
  keccak256,
  type LocalAccount,
  stringToHex,
  toHex,
} from 'viem'

/**
 * Requests that a payer signs with EIP-712, and that a provider hands to the contract FilecoinWarmStorageService as `extraData`
 * (SignatureVerificationLib.sol of FilOzone/filecoin-services 1.3). Signatures are deterministic, so the same request always has
 * the same bytes.
 */

/** The types of EIP-712, as the contract hashes them. */
export const REQUEST_TYPES = {
  MetadataEntry: [
    { name: 'key', type: 'string' },
    { name: 'value', type: 'string' },
  ],
  CreateDataSet: [
    { name: 'clientDataSetId', type: 'uint256' },
    { name: 'payee', type: 'address' },
    { name: 'metadata', type: 'MetadataEntry[]' },
  ],
  Cid: [{ name: 'data', type: 'bytes' }],
  PieceMetadata: [
    { name: 'pieceIndex', type: 'uint256' },
    { name: 'metadata', type: 'MetadataEntry[]' },
  ],
  AddPieces: [
    { name: 'clientDataSetId', type: 'uint256' },
    { name: 'nonce', type: 'uint256' },
    { name: 'pieceData', type: 'Cid[]' },
    { name: 'pieceMetadata', type: 'PieceMetadata[]' },
  ],
} as const

const METADATA_ENTRY = 'MetadataEntry(string key,string value)'

/** The permissions that a session key needs, as SessionKeyRegistry names them: the hashes of the types that it signs. */
export const PERMISSIONS = {
  createDataSet: keccak256(
    stringToHex(
      `CreateDataSet(uint256 clientDataSetId,address payee,MetadataEntry[] metadata)${METADATA_ENTRY}`,
    ),
  ),
  addPieces: keccak256(
    stringToHex(
      `AddPieces(uint256 clientDataSetId,uint256 nonce,Cid[] pieceData,PieceMetadata[] pieceMetadata)Cid(bytes data)${METADATA_ENTRY}PieceMetadata(uint256 pieceIndex,MetadataEntry[] metadata)`,
    ),
  ),
} as const

/**
 * The layouts of `extraData` (ABI of Ethereum):
 * - `create`: payer, client data set id, keys and values of metadata, signature
 * - `add`: nonce, keys and values of metadata for each piece, signature
 * - `createAndAdd`: both, for a transaction that creates a data set with its first pieces
 */
export const EXTRA_DATA = {
  create: [
    { type: 'address' },
    { type: 'uint256' },
    { type: 'string[]' },
    { type: 'string[]' },
    { type: 'bytes' },
  ],
  add: [{ type: 'uint256' }, { type: 'string[][]' }, { type: 'string[][]' }, { type: 'bytes' }],
  createAndAdd: [{ type: 'bytes' }, { type: 'bytes' }],
} as const

/** The contract for which requests are signed: its address, and the EIP-155 id of its chain. */
export interface Service {
  chain: number
  /** @example '0x8408502033c418e1bbc97ce9ac48e5528f371a9f' */
  service: string
}

/** Returns the domain of EIP-712 of a contract. */
export const domainOf = ({ chain, service }: Service) => ({
  name: 'FilecoinWarmStorageService',
  version: '1',
  chainId: chain,
  verifyingContract: service as Address,
})

/**
 * Signs the creation of a data set, without metadata.
 *
 * @param request.clientDataSetId id that the payer gives to the data set. It uses up the payer's nonce of this number
 * @param request.payer address of the wallet that pays
 * @param request.payee address to which the registry of providers sends payments to the provider
 */
export const signCreate = async (
  account: LocalAccount,
  service: Service,
  { clientDataSetId, payer, payee }: { clientDataSetId: bigint; payer: string; payee: string },
): Promise<Hex> => {
  const signature = await account.signTypedData({
    domain: domainOf(service),
    types: REQUEST_TYPES,
    primaryType: 'CreateDataSet',
    message: { clientDataSetId, payee: payee as Address, metadata: [] },
  })
  return encodeAbiParameters(EXTRA_DATA.create, [payer as Address, clientDataSetId, [], [], signature])
}

/**
 * Signs the addition of a piece to a data set, without metadata.
 *
 * @param request.clientDataSetId id that the payer gave to the data set
 * @param request.nonce a number that the payer never used. The contract accepts it once, and stores the data set and the place of the
 * piece with it
 * @param request.piece the bytes of the piece CID v2
 */
export const signAdd = async (
  account: LocalAccount,
  service: Service,
  { clientDataSetId, nonce, piece }: { clientDataSetId: bigint; nonce: bigint; piece: Uint8Array },
): Promise<Hex> => {
  const signature = await account.signTypedData({
    domain: domainOf(service),
    types: REQUEST_TYPES,
    primaryType: 'AddPieces',
    message: {
      clientDataSetId,
      nonce,
      pieceData: [{ data: toHex(piece) }],
      pieceMetadata: [{ pieceIndex: 0n, metadata: [] }],
    },
  })
  return encodeAbiParameters(EXTRA_DATA.add, [nonce, [[]], [[]], signature])
}

/** Joins both requests, for a transaction that creates a data set with its first piece. */
export const joinCreateAndAdd = (create: Hex, add: Hex): Hex =>
  encodeAbiParameters(EXTRA_DATA.createAndAdd, [create, add])
