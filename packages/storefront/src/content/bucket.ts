import { addAbortSignal, type Readable } from 'node:stream'
import {
  copyObject,
  findObject,
  getObject,
  PRESIGNED_URL_SECONDS,
  presignObject,
  presignUpload,
} from '@w3filecoin/aws'
import type { Clock } from '@w3filecoin/runtime'
import { resources } from '../resources.ts'
import type { ContentSource } from './source.ts'
import type { Uploads } from './uploads.ts'

type Bucket = Pick<Parameters<typeof getObject>[0], 'client' | 'bucket'>

interface Buckets {
  /** Content that is kept. */
  content: () => Bucket
  /** Content that agents uploaded and that expires. */
  uploads: () => Bucket
}

/** Not the type of the upload: a browser must not run it. */
const TYPE = 'application/octet-stream'

/** Agents need not upload content again that stays for this long: they have the time to offer it. */
const OFFER_MS = (resources.buckets.uploads.keepDays / 2) * 24 * 60 * 60 * 1000

/**
 * Reads content from the bucket `content`, or from `uploads` if it is only there. Both have each content under its CID. Content
 * of `uploads` is kept in `content`.
 */
export const fromBuckets = ({ content, uploads }: Buckets): ContentSource => {
  const isIn = async (bucket: Bucket, key: string) => (await findObject({ ...bucket, key })) !== undefined
  return {
    has: async key => (await isIn(content(), key)) || isIn(uploads(), key),
    open: async (key, signal) => {
      const kept = (await getObject({ ...content(), key, signal })) as Readable | undefined
      if (kept) return addAbortSignal(signal, kept)
      const uploaded = (await getObject({ ...uploads(), key, signal })) as Readable | undefined
      const keep = () => copyObject({ ...content(), key, from: uploads().bucket })
      return uploaded && Object.assign(addAbortSignal(signal, uploaded), { keep })
    },
    locate: key => presignObject({ ...content(), key, type: TYPE }),
  }
}

/** Returns addresses in the bucket `uploads`. */
export const uploadsTo = ({ content, uploads }: Buckets, now: Clock): Uploads => {
  const urlOf = async (bucket: Bucket, key: string) =>
    (await presignObject({ ...bucket, key, type: TYPE })).split('?')[0]
  return {
    find: async key => {
      if (await findObject({ ...content(), key })) return urlOf(content(), key)
      const uploaded = await findObject({ ...uploads(), key })
      return uploaded && now() < uploaded.storedAt + OFFER_MS ? urlOf(uploads(), key) : undefined
    },
    presign: async (key, blob) => ({
      ...(await presignUpload({ ...uploads(), key, ...blob })),
      expires: Math.floor(now() / 1000) + PRESIGNED_URL_SECONDS,
    }),
  }
}
