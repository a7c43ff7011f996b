import { parseAbi } from 'viem'

/**
 * The functions that the source `pdp` calls, and those with which a reader checks a receipt, as contracts of Filecoin Onchain Cloud have them (FilOzone/pdp 3.4 and 3.5,
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

/** The contract FilecoinWarmStorageService, to which payers and providers agree. */
export const SERVICE = parseAbi(['function viewContractAddress() view returns (address)'])

/** Its view contract, which has the getters. The service says where it is, because an upgrade replaces it. */
export const VIEW = parseAbi([
  'struct DataSet { uint256 pdpRailId; uint256 cacheMissRailId; uint256 cdnRailId; address payer; address payee; address serviceProvider; uint256 commissionBps; uint256 clientDataSetId; uint256 pdpEndEpoch; uint256 providerId; uint96 pendingOneTimePayments; uint96 lifecycleReserveBalance; uint256 dataSetId; }',
  'function clientDataSets(address payer, uint256 offset, uint256 limit) view returns (uint256[] dataSetIds)',
  'function getDataSet(uint256 dataSetId) view returns (DataSet info)',
  'function provingDeadline(uint256 setId) view returns (uint256)',
])
