import { randomBytes } from 'node:crypto'
import { PutObjectCommand } from '@aws-sdk/client-s3'
import type { Local } from '@w3filecoin/local'
import { s3Client } from '@w3filecoin/local/engines'
import { type PieceLink, pieceOf } from '@w3filecoin/piece'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'

/** Bytes, with their content CID and their piece CID. */
export interface Content {
  bytes: Uint8Array
  content: CID
  piece: PieceLink
}

const RAW = 0x55

/** Returns random content of a size in bytes. */
export const randomContent = async (size: number): Promise<Content> => {
  const bytes = randomBytes(size)
  const { link } = await pieceOf([bytes])
  return { bytes, content: CID.createV1(RAW, await sha256.digest(bytes)), piece: link }
}

/** Uploads content to the bucket from which the storefront reads. */
export const upload = async (
  { engines }: Local,
  { bytes, content }: Pick<Content, 'bytes' | 'content'>,
  storefront = 'storefront',
) => {
  const s3 = s3Client(engines)
  await s3.send(new PutObjectCommand({ Bucket: `${storefront}-content`, Key: `${content}`, Body: bytes }))
  s3.destroy()
}
