/**
 * Contracts of Filecoin Onchain Cloud, on the chain of Filecoin: functions and errors, requests that a payer signs, and calls at one
 * block of a node. Addresses are in lower case, and amounts in the smallest unit of their token.
 */
export * from './contracts.ts'
export * from './json-rpc.ts'
export * from './node.ts'
export * from './signed-requests.ts'
