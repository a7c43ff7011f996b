/** Where agents store content before they offer it. Content that the storefront does not keep expires. */
export interface Uploads {
  /**
   * Returns the URL of stored content, which cannot be read without permission; `undefined` if there is none, or if it may
   * expire before an agent has offered it.
   *
   * @param content CID of one raw block, e.g. `bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy`
   */
  find(content: string): Promise<string | undefined>
  /** Returns where, until when and with which headers exactly these bytes can be stored with one `PUT`. */
  presign(content: string, blob: { sha256: Uint8Array; bytes: number }): Promise<UploadAddress>
}

/** @example { url: 'https://…&X-Amz-Signature=…', headers: { 'x-amz-checksum-sha256': 'ungWv48B…' }, expires: 1801958400 } */
export interface UploadAddress {
  url: string
  /** The headers that the request must have. */
  headers: Record<string, string>
  /** Seconds since 1970. */
  expires: number
}
