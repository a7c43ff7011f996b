import { GetObjectCommand, paginateListObjectsV2 } from '@aws-sdk/client-s3'
import type { Local } from '@w3filecoin/local'
import { s3Client } from '@w3filecoin/local/engines'

/** Reads all offer documents of the dealer, like the storage providers do. */
export const readOfferDocuments = async ({ engines }: Local): Promise<Record<string, unknown>[]> => {
  const s3 = s3Client(engines)
  const bucket = { Bucket: 'dealer-offers' }
  const documents: Record<string, unknown>[] = []
  for await (const { Contents = [] } of paginateListObjectsV2({ client: s3 }, bucket))
    for (const { Key } of Contents) {
      const { Body } = await s3.send(new GetObjectCommand({ ...bucket, Key }))
      documents.push(JSON.parse((await Body?.transformToString()) ?? ''))
    }
  s3.destroy()
  return documents
}
