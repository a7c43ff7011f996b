import {
  abortUpload,
  beginUpload,
  completeUpload,
  presignObject,
  putPart,
  removeObject,
} from '@w3filecoin/aws'
import type { WholeObjects } from '../stores.ts'

/** Not what the pieces contain: a browser must not run it. */
const TYPE = 'application/octet-stream'

/** Keeps the payloads of aggregates in a bucket, each under its piece CID. */
export const wholesIn = (bucket: () => Omit<Parameters<typeof removeObject>[0], 'key'>): WholeObjects => {
  const object = (key: string) => ({ ...bucket(), key })
  return {
    begin: key => beginUpload({ ...object(key), type: TYPE }),
    putPart: ({ aggregate, ...part }) => putPart({ ...object(aggregate), ...part }),
    complete: ({ aggregate, ...upload }) => completeUpload({ ...object(aggregate), ...upload }),
    abort: ({ aggregate, upload }) => abortUpload({ ...object(aggregate), upload }),
    locate: key => presignObject({ ...object(key), type: TYPE }),
    remove: key => removeObject(object(key)),
  }
}
