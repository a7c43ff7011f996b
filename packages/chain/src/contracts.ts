import { parseAbi } from 'viem'

/**
 * The functions and errors that are used, as contracts of Filecoin Onchain Cloud have them (FilOzone/pdp 3.4 and 3.5,
 * FilOzone/filecoin-services 1.3). They are written here and not taken from a package: an ABI of another release decodes
 * answers wrongly, and does not fail.
 */

/** The contract PDPVerifier, which holds the data sets and checks their proofs. */
export const VERIFIER = parseAbi([
  'struct Cid { bytes data; }',
  'function dataSetLive(uint256 setId) view returns (bool)',
  'function getDataSetLastProvenEpoch(uint256 setId) view returns (uint256)',
  'function getScheduledRemovals(uint256 setId) view returns (uint256[])',
  'function getActivePiecesByCursor(uint256 setId, uint256 startPieceId, uint256 limit) view returns (Cid[] pieces, uint256[] pieceIds, bool hasMore)',
  'function pieceChallengable(uint256 setId, uint256 pieceId) view returns (bool)',
  'function pieceLive(uint256 setId, uint256 pieceId) view returns (bool)',
  'function getPieceCid(uint256 setId, uint256 pieceId) view returns (Cid)',
])

/** The contract FilecoinWarmStorageService, to which payers and providers agree. It knows the contracts that it works with. */
export const SERVICE = parseAbi([
  'function viewContractAddress() view returns (address)',
  'function pdpVerifierAddress() view returns (address)',
  'function paymentsContractAddress() view returns (address)',
  'function usdfcTokenAddress() view returns (address)',
  'function serviceProviderRegistry() view returns (address)',
  'function sessionKeyRegistry() view returns (address)',
])

/** Its view contract, which has the getters. The service says where it is, because an upgrade replaces it. */
export const VIEW = parseAbi([
  'struct DataSet { uint256 pdpRailId; uint256 cacheMissRailId; uint256 cdnRailId; address payer; address payee; address serviceProvider; uint256 commissionBps; uint256 clientDataSetId; uint256 pdpEndEpoch; uint256 providerId; uint96 pendingOneTimePayments; uint96 lifecycleReserveBalance; uint256 dataSetId; }',
  'function clientDataSets(address payer, uint256 offset, uint256 limit) view returns (uint256[] dataSetIds)',
  'function clientNonces(address payer, uint256 nonce) view returns (uint256)',
  'function getDataSet(uint256 dataSetId) view returns (DataSet info)',
  'function provingDeadline(uint256 setId) view returns (uint256)',
])

/** The contract SessionKeyRegistry: until when a key may sign for a payer, in seconds since 1970. 0 if it may not. */
export const SESSION_KEYS = parseAbi([
  'function authorizationExpiry(address user, address signer, bytes32 permission) view returns (uint256)',
])

/** The contract ServiceProviderRegistry. It reverts for an id that no provider has. */
export const PROVIDERS = parseAbi([
  'function getProviderPayee(uint256 providerId) view returns (address payee)',
])

/** The contract FilecoinPayV1, which holds the funds of payers. */
export const PAYMENTS = parseAbi([
  'function getAccountInfoIfSettled(address token, address owner) view returns (uint256 fundedUntilEpoch, uint256 currentFunds, uint256 availableFunds, uint256 currentLockupRate)',
  'function operatorApprovals(address token, address client, address operator) view returns (bool isApproved, uint256 rateAllowance, uint256 lockupAllowance, uint256 rateUsage, uint256 lockupUsage, uint256 maxLockupPeriod)',
])

/** Errors with which the contracts revert a transaction that adds pieces. A provider quotes them in its answers. */
export const REVERTS = parseAbi([
  'error ClientDataSetAlreadyRegistered(uint256 clientDataSetId)',
  'error DataSetPaymentAlreadyTerminated(uint256 dataSetId)',
  'error InsufficientLockupAllowance(address payer, address operator, uint256 lockupAllowance, uint256 lockupUsage, uint256 lockupRequired)',
  'error InsufficientLockupFunds(address payer, uint256 required, uint256 available)',
  'error InsufficientMaxLockupPeriod(address payer, address operator, uint256 maxLockupPeriod, uint256 requiredLockupPeriod)',
  'error InsufficientRateAllowance(address payer, address operator, uint256 rateAllowance, uint256 rateUsage, uint256 rateRequired)',
  'error InvalidDataSetId(uint256 dataSetId)',
  'error InvalidSignature(address expected, address actual)',
  'error MetadataArrayCountMismatch(uint256 metadataArrayCount, uint256 pieceCount)',
  'error OperatorNotApproved(address payer, address operator)',
  'error ProviderNotRegistered(address provider)',
])
