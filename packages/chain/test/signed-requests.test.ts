import { devnet } from '@filoz/synapse-core/chains'
import { asPieceCID } from '@filoz/synapse-core/piece'
import { AddPiecesPermission, CreateDataSetPermission } from '@filoz/synapse-core/session-key'
import {
  signAddPieces,
  signCreateDataSet,
  signCreateDataSetAndAddPieces,
} from '@filoz/synapse-core/typed-data'
import { createClient, custom } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { expect, it } from 'vitest'
import { joinCreateAndAdd, PERMISSIONS, signAdd, signCreate } from '../src/index.ts'

const SERVICE = `0x${'f5'.repeat(20)}` as const
const PAYER = `0x${'0a'.repeat(20)}` as const
const PAYEE = `0x${'0e'.repeat(20)}` as const
const account = privateKeyToAccount(`0x${'22'.repeat(32)}`)
/** The published client, on the test network whose id it calls devnet. */
const client = createClient({
  account,
  transport: custom({ request: () => Promise.reject(new Error('no request is expected')) }),
  chain: {
    ...devnet,
    contracts: { ...devnet.contracts, fwss: { ...devnet.contracts.fwss, address: SERVICE } },
  },
})
const service = { chain: devnet.id, service: SERVICE }
/** The piece of 127 zero bytes. */
const piece = asPieceCID('bafkzcibcaabdomn3tgwgrh3g532zopskstnbrd2n3sxfqbze7rxt7vqn7veigmy')!
const [clientDataSetId, nonce] = [2n ** 255n + 7n, 2n ** 256n - 1n]

it('signs requests with the bytes of the published client', async () => {
  const create = await signCreate(account, service, { clientDataSetId, payer: PAYER, payee: PAYEE })
  const add = await signAdd(account, service, { clientDataSetId, nonce, piece: piece.bytes })
  const pieces = [{ pieceCid: piece }]
  const request = { clientDataSetId, payer: PAYER, payee: PAYEE }
  expect(create).toBe(await signCreateDataSet(client, request))
  expect(add).toBe(await signAddPieces(client, { clientDataSetId, nonce, pieces }))
  expect(joinCreateAndAdd(create, add)).toBe(
    await signCreateDataSetAndAddPieces(client, { ...request, nonce, pieces }),
  )
})

it('names the permissions of a session key as the published client', () => {
  expect(PERMISSIONS).toEqual({ createDataSet: CreateDataSetPermission, addPieces: AddPiecesPermission })
})
