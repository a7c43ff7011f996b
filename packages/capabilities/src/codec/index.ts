export { encodeCar } from './car.ts'
export { decodeCbor, encodeCbor } from './cbor.ts'
export { type AnyLink, linkText } from './link-text.ts'
export { type BlockMap, blockOf, decodeUcan, findBlock, type Ucan, viewRoot, viewUcan } from './ucan.ts'
