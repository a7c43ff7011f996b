import { randomBytes } from 'node:crypto'
import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3'
import type { Local } from '@w3filecoin/local'
import { type PieceLink, pieceOf } from '@w3filecoin/piece'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'

/** Content of random bytes, with the CIDs that it has as content and as a piece. */
export interface Content {
  bytes: Uint8Array
  content: CID
  piece: PieceLink
}

const RAW = 0x55

export const randomContent = async (size: number): Promise<Content> => {
  const bytes = randomBytes(size)
  const { link } = await pieceOf([bytes])
  return { bytes, content: CID.createV1(RAW, await sha256.digest(bytes)), piece: link }
}

/** Puts content where the storefront reads it. */
export const upload = async ({ engines }: Local, { bytes, content }: Content, storefront = 'storefront') => {
  const s3 = new S3Client({
    region: engines.env.AWS_REGION as string,
    endpoint: engines.env.AWS_ENDPOINT_URL_S3 as string,
    credentials: {
      accessKeyId: engines.env.AWS_ACCESS_KEY_ID as string,
      secretAccessKey: engines.env.AWS_SECRET_ACCESS_KEY as string,
    },
    forcePathStyle: true,
  })
  await s3.send(new PutObjectCommand({ Bucket: `${storefront}-content`, Key: `${content}`, Body: bytes }))
  s3.destroy()
}
