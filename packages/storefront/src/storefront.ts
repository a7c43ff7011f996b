import {
  concludeHandler,
  createHttpApp,
  onTranslate,
  runChecks,
  Server,
  type Service,
} from '@w3filecoin/runtime'
import { onAggregation } from './consumers/aggregation.ts'
import { onNotify } from './consumers/notify.ts'
import { onOutcome } from './consumers/outcome.ts'
import { onPoll } from './consumers/poll.ts'
import { onSubmit } from './consumers/submit.ts'
import { readInCid } from './content/in-cid.ts'
import type { Dependencies } from './dependencies.ts'
import { forwardOffers } from './dialects/forward-offers.ts'
import { dialectHandlers } from './dialects/handlers.ts'
import { translateSubmit } from './dialects/translate.ts'
import { filecoinAcceptHandler } from './handlers/filecoin-accept.ts'
import { filecoinInfoHandler } from './handlers/filecoin-info.ts'
import { filecoinOfferHandler } from './handlers/filecoin-offer.ts'
import { filecoinSubmitHandler } from './handlers/filecoin-submit.ts'
import { spaceBlobAddHandler } from './handlers/space-blob-add.ts'
import { spaceIndexAddHandler } from './handlers/space-index-add.ts'
import { uploadAddHandler } from './handlers/upload-add.ts'
import { addPieceDoor, describePieceDoor } from './piece-door.ts'
import type { messages } from './queues.ts'
import { resources } from './resources.ts'
import { sweepStorefront } from './sweep.ts'
import { receiveAggregateReceipt } from './workflow/aggregate-outcome.ts'
import { findProgress } from './workflow/find-progress.ts'
import { joinByMessage } from './workflow/join-aggregate.ts'
import { receivePieceAccept } from './workflow/piece-accept.ts'
import { acceptUpload } from './workflow/promise-upload.ts'

/** Creates the storefront. Agents offer content pieces to it, and get the proof of a deal from it. */
export const createStorefront = ({
  content,
  ...others
}: Dependencies): Service<typeof resources, typeof messages> => {
  const dependencies = { ...others, content: readInCid(content) }
  const { id, authority, stores, aggregator, dealer, dialects, contentAccess, page, timing, now, log } =
    dependencies
  const uploading = others.uploads && { ...dependencies, uploads: others.uploads }
  const joining = { ...dependencies, join: joinByMessage(dependencies) }
  const server = new Server({
    id,
    authority,
    handlers: [
      filecoinOfferHandler(dependencies),
      filecoinSubmitHandler(dependencies),
      filecoinAcceptHandler(dependencies),
      filecoinInfoHandler(dependencies),
      ...(uploading ? [spaceBlobAddHandler(uploading), spaceIndexAddHandler(), uploadAddHandler()] : []),
      concludeHandler({
        authority,
        now,
        ...(uploading && { receiveFromAgent: task => acceptUpload(uploading, task) }),
        senders: { aggregator: aggregator.did, dealer },
        routes: {
          'piece/accept': (receipt, _, message) => receivePieceAccept(joining, receipt, message),
          'aggregate/offer': (receipt, ran) => receiveAggregateReceipt(dependencies, receipt, ran),
          'aggregate/accept': (receipt, ran) => receiveAggregateReceipt(dependencies, receipt, ran),
        },
      }),
      ...dialectHandlers(dependencies),
    ],
    receipts: stores.receipts,
    log,
  })
  const api = createHttpApp({
    server,
    receipts: stores.receipts,
    name: 'storefront',
    // Agents of dialects follow the links of receipts into the other services.
    elsewhere: async task =>
      dialects.length === 0 || (await stores.task.get({ task })) ? undefined : aggregator.chainUrl(task),
    progress: findProgress(dependencies),
    paths: describePieceDoor(dependencies.pieceAccess),
    about: contentAccess && { content: contentAccess },
    page,
    log,
  })
  addPieceDoor(api, dependencies)
  return {
    api,
    consumers: {
      submit: onSubmit(dependencies),
      aggregation: onAggregation(dependencies),
      poll: onPoll(joining),
      outcome: onOutcome(dependencies),
      notify: onNotify(dependencies),
      translate: onTranslate({
        id,
        stores,
        translate: (record, receipt) => translateSubmit(dependencies, record, receipt),
        forward: offers => forwardOffers(dependencies, offers),
        timing,
        now,
      }),
    },
    schedules: {
      sweep: sweepStorefront(dependencies),
      check: runChecks({ ...dependencies, service: resources.service, table: dependencies.stores.health }),
    },
  }
}
