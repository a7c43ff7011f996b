/** The package exports this module with a path of its types that does not exist. */
declare module '@ipld/dag-ucan/codec/cbor' {
  /** Returns the view of the data model of a UCAN, without a check. */
  export const from: (model: object) => object
}
