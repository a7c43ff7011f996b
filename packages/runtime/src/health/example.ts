import type { Link } from '@ucanto/interface'
import { parsePieceLink } from '@w3filecoin/capabilities'
import { parse as parseLink } from 'multiformats/link'

/** Checks ask other services about these. No agent offers them, so the questions change nothing, and logs show which ones are checks. */
export const EXAMPLE = {
  /** An empty piece of 32 GiB. */
  piece: parsePieceLink('bafkzcibcaapao7s73y24kcutaosvacpdjgfe5pw76ooefnyqw4ynr3d2y6x2mpq'),
  /** The empty list as DAG-CBOR. */
  block: parseLink('bafyreidwx2fvfdiaox32v2mnn6sxu3j4qoxeqcuenhtgrv5qv6litfnmoe') as Link,
  /** Empty content, as raw bytes. */
  content: 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku',
  group: 'check',
}
